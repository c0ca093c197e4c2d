//! HTTP: announce and scrape for clients that speak nothing of ours.
//!
//! Owns the translation between requests and the registry. A request that is understood is answered with status 200,
//! refusals included, since clients show only the reason inside; one that is not ends the connection.

use super::TrackerService;
use super::conns::BACKLOG_BYTES_MAX;
use crate::base::Time;
use crate::reactor::{Closed, ConnId};
use crate::registry::{Families, Refusal};
use crate::wire::announce::ScrapeEntry;
use crate::wire::http::head::{HEAD_BYTES_MAX, Head, HeadDecoder, HeadError};
use crate::wire::http::query::{HttpAnnounce, scrape_hashes};
use crate::wire::http::reply::{AnnounceBody, PeerForm, Response, Retry, put_failure, put_scrape};

const OK: &str = "200 OK";
const NOT_FOUND: &str = "404 Not Found";
/// Minutes after which a client that met a limit may try again (BEP 31).
const RETRY_MINUTES: u32 = 1;

const _: () = assert!(HEAD_BYTES_MAX < BACKLOG_BYTES_MAX);

impl TrackerService {
    /// Answers the requests in `input`, until its connection has too much to read; says whether it goes on.
    pub(super) fn feed_http(
        &mut self,
        now: Time,
        id: ConnId,
        decoder: &mut HeadDecoder,
        mut input: &[u8],
    ) -> bool {
        loop {
            if let Some(goes_on) = self.holds_back(id, input, now) {
                return goes_on;
            }
            let head = match decoder.decode(&mut input) {
                Ok(Some(bytes)) => Head::parse(bytes),
                Ok(None) => return true,
                Err(error) => Err(error),
            };
            match head {
                Ok(head) => self.request_by_http(now, id, &head),
                Err(error) => self.refuse_by_http(id, error),
            }
        }
    }

    fn request_by_http(&mut self, now: Time, id: ConnId, head: &Head<'_>) {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let status = match head.path {
            "/announce" => {
                if let Err((reason, retry)) = self.announce_by_http(now, id, head.query, &mut body)
                {
                    put_failure(&reason, retry, &mut body);
                }
                OK
            }
            "/scrape" => {
                if let Err(reason) = self.scrape_by_http(head.query, &mut body) {
                    put_failure(reason, None, &mut body);
                }
                OK
            }
            _ => {
                body.extend_from_slice(b"there is only /announce and /scrape\n");
                NOT_FOUND
            }
        };
        let response = Response {
            status,
            body: &body,
            keeps_alive: head.keeps_alive,
            is_old: head.is_old,
        };
        self.conns.send(id, |out| response.put(out));
        self.body = body;
        if !head.keeps_alive {
            self.conns.close(id, Closed::Local("as the client asked"));
        }
    }

    fn announce_by_http(
        &mut self,
        now: Time,
        id: ConnId,
        query: &str,
        body: &mut Vec<u8>,
    ) -> Result<(), (String, Option<Retry>)> {
        let Some(source) = self.conns.get(id).map(|conn| conn.remote.ip()) else {
            return Ok(());
        };
        let request = HttpAnnounce::parse(query).map_err(|reason| (reason.to_owned(), None))?;
        let announced = self
            .announce(now, &request.announce, source, Families::Both)
            .map_err(|refusal| (refusal.to_string(), retry(refusal)))?;
        let reply = AnnounceBody {
            interval_s: announced.interval_s,
            interval_s_min: Some(announced.interval_s_min),
            swarm: announced.swarm,
            external_ip: Some(source),
            peers: &self.peers,
            tracker_id: None,
            warning: None,
        };
        let form = if request.is_compact {
            PeerForm::Compact
        } else {
            PeerForm::Dictionaries {
                with_ids: !request.omits_peer_ids,
            }
        };
        reply.put(form, body);
        Ok(())
    }

    /// Figures of the contents that are known, of the others nothing.
    fn scrape_by_http(&mut self, query: &str, body: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut hashes = scrape_hashes(query)?;
        hashes.sort_unstable();
        hashes.dedup();
        let known = hashes
            .into_iter()
            .filter_map(|hash| Some((hash, self.registry.figures(hash)?)));
        let files: Vec<(_, ScrapeEntry)> = known.collect();
        put_scrape(files, self.registry.interval_s_min(), body);
        Ok(())
    }

    /// Says what is wrong with a request, and closes: where the next one begins is not known.
    fn refuse_by_http(&mut self, id: ConnId, error: HeadError) {
        let body = format!("{error}\n");
        let response = Response {
            status: error.status(),
            body: body.as_bytes(),
            keeps_alive: false,
            is_old: false,
        };
        self.conns.send(id, |out| response.put(out));
        self.conns.close(id, Closed::Fault(error.reason()));
    }
}

/// When it may be of use to try again.
fn retry(refusal: Refusal) -> Option<Retry> {
    matches!(refusal, Refusal::Full(_)).then_some(Retry::Minutes(RETRY_MINUTES))
}
