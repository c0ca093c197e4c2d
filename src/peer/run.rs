//! From a validated command to a running loop, and to an exit code.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::get::Get;
use super::job::Job;
use super::list::List;
use super::remove::Remove;
use super::seed::Seed;
use super::service::PeerService;
use super::share::Share;
use super::shell::Shell;
use super::status::Status;
use super::torrent::{Create, Export, Show};
use super::tracker_client::HelloConfig;
use super::tracker_link::TrackerLink;
use super::verify::Verify;
use super::wire_link::Links;
use crate::base::{PeerId, Rng, Time};
use crate::cli::{
    Advertised, ExitCode, Failure, OutputConfig, PeerCommand, PeerGlobals, ReachConfig, Reporter,
    SeedMode, Streams, Target, TrackerUse,
};
use crate::reactor::{Limits, Reactor, raise_nofile_limit};
use crate::storage::{LineWriter, Workers, cores};
use crate::wire::native::HELLO_ADDRS_MAX;

/// Errands that wait for a worker; more wait on the reactor's side.
const QUEUE_MAX: usize = 4_096;
/// Workers that may hash at the same time, if there are not as many cores: one slow read then stops not all of it.
const HASHING_MIN: usize = 2;

/// Carries out `command`, and returns what the program exits with. Everything that is to be said is said.
pub fn run(globals: PeerGlobals, command: PeerCommand) -> ExitCode {
    let names = names_of(&command);
    let streams = Streams::of_process();
    let reporter = Reporter::new(Time::ZERO, "shoal-peer", &names, &globals.output, streams);
    let mut command = command;
    if let PeerCommand::Get(get) = &mut command {
        let mode = match streams.stdout_is_terminal {
            true => SeedMode::Auto,
            false => SeedMode::None,
        };
        get.seed.get_or_insert(mode);
        if get.target == Target::Stdout && streams.stdout_is_terminal {
            let failure = Failure::new(ExitCode::Usage, "get", "-o: \"-\" is a terminal here");
            return say_failure(
                reporter,
                &failure.with_remedy("send it to a pipe or a file"),
            );
        }
    }
    match start(globals, command, reporter) {
        Ok((mut reactor, mut service)) => {
            let outcome = reactor.run(&mut service);
            if let Err(error) = outcome {
                log::error!("the poll failed: {error}");
            }
            service.finish(reactor.now())
        }
        Err((failure, reporter)) => say_failure(*reporter, &failure),
    }
}

/// Says why nothing could be begun: one line on stderr, and with `json` the summary as well.
pub fn report_failure(json: bool, failure: &Failure) -> ExitCode {
    let config = OutputConfig {
        json,
        quiet: false,
        verbosity: 0,
        progress: false,
        color: false,
        dumb: true,
    };
    let streams = Streams::of_process();
    let reporter = Reporter::new(Time::ZERO, "shoal-peer", &[], &config, streams);
    say_failure(reporter, failure)
}

fn say_failure(mut reporter: Reporter, failure: &Failure) -> ExitCode {
    let code = super::service::report_only(&mut reporter, Time::ZERO, failure);
    let Ok(writer) = LineWriter::start() else {
        return code;
    };
    super::shell::write_out(&mut reporter, &writer);
    // Where nobody reads, the exit code still tells.
    let _ = writer.finish();
    code
}

type Started = (Reactor, PeerService);

fn start(
    globals: PeerGlobals,
    command: PeerCommand,
    reporter: Reporter,
) -> Result<Started, (Failure, Box<Reporter>)> {
    let what = command.name();
    let fail = |error: io::Error| Failure::new(ExitCode::Other, what, error.to_string());
    let begun = (|| {
        raise_nofile_limit().map_err(fail)?;
        let mut reactor = Reactor::new(Limits::default()).map_err(fail)?;
        let reach = reach_of(&command);
        let listen = reach
            .as_ref()
            .map(|reach| listen(&mut reactor, reach.listen))
            .transpose();
        let local = listen.map_err(|error| {
            Failure::new(ExitCode::Network, what, error.to_string()).with_remedy(
                "choose another address with --listen, or leave it out for any free port",
            )
        })?;
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|error| fail(io::Error::other(error.to_string())))?;
        let hashing_max = cores().max(HASHING_MIN);
        let workers = Workers::start("worker", hashing_max + 1, QUEUE_MAX, reactor.wake_handle())
            .map_err(fail)?;
        let writer = LineWriter::start().map_err(fail)?;
        Ok((reactor, reach, local, random, hashing_max, workers, writer))
    })();
    let (reactor, reach, local, random, hashing_max, workers, writer) = match begun {
        Ok(begun) => begun,
        Err(failure) => return Err((failure, Box::new(reporter))),
    };
    let (id_part, seed_part) = random.split_at(12);
    let id = PeerId::from_random(id_part.try_into().expect("twelve bytes"));
    let mut rng = Rng::new(u64::from_be_bytes(
        seed_part.try_into().expect("eight bytes"),
    ));
    let port = port_told(reach.as_ref(), local);
    let hello = hello(id, reach, local);
    let is_required = command.tracker_use() == TrackerUse::Required;
    let link_rng = Rng::new(rng.next_u64());
    let tracker = TrackerLink::new(globals.tracker, is_required, hello, link_rng);
    let now = reactor.now();
    let policy_wanted = command.policy();
    let links = Links::new(id, port, command.limits());
    let jobs = jobs_of(now, command);
    let mut shell = Shell::new(
        workers,
        hashing_max,
        tracker,
        reporter,
        writer,
        (id, port, rng),
    );
    shell.policy_wanted = policy_wanted;
    shell.content_count = jobs.len();
    let service = PeerService::new(now, shell, links, jobs);
    Ok((reactor, service))
}

/// Listens for peers: by TCP, and on the same number by UDP, if nobody has that, to refuse those who dial by uTP.
fn listen(reactor: &mut Reactor, addr: SocketAddr) -> io::Result<SocketAddr> {
    let local = reactor.listen(addr)?;
    if let Err(error) = reactor.listen_udp(local) {
        log::debug!("who dials by uTP has to wait: {error}");
    }
    Ok(local)
}

fn reach_of(command: &PeerCommand) -> Option<ReachConfig> {
    match command {
        PeerCommand::Share(config) => Some(config.reach.clone()),
        PeerCommand::Get(config) => Some(config.reach.clone()),
        PeerCommand::Seed(config) => Some(config.reach.clone()),
        _ => None,
    }
}

fn names_of(command: &PeerCommand) -> Vec<String> {
    match command {
        PeerCommand::Share(config) => config
            .paths
            .iter()
            .map(|p| p.display().to_string())
            .collect(),
        PeerCommand::Get(config) => config.whats.iter().map(ToString::to_string).collect(),
        PeerCommand::List(_) => Vec::new(),
        PeerCommand::Status(config) => vec![config.what.to_string()],
        PeerCommand::Verify(config) => vec![config.what.to_string()],
        PeerCommand::Remove(config) => vec![config.what.to_string()],
        PeerCommand::Seed(config) => vec![config.path.display().to_string()],
        PeerCommand::Create(config) => vec![config.path.display().to_string()],
        PeerCommand::Show(config) => vec![config.file.display().to_string()],
        PeerCommand::Export(config) => vec![config.what.to_string()],
    }
}

fn jobs_of(now: Time, command: PeerCommand) -> Vec<Job> {
    match command {
        PeerCommand::Share(config) => {
            let config = Arc::new(config);
            let share = |path| Job::Share(Box::new(Share::new(now, config.clone(), path)));
            config.paths.clone().into_iter().map(share).collect()
        }
        PeerCommand::Get(config) => {
            let config = Arc::new(config);
            let get = |what| Job::Get(Box::new(Get::new(now, config.clone(), what)));
            config.whats.clone().into_iter().map(get).collect()
        }
        PeerCommand::List(config) => vec![Job::List(List::new(config))],
        PeerCommand::Status(config) => vec![Job::Status(Status::new(config))],
        PeerCommand::Verify(config) => vec![Job::Verify(Verify::new(now, config))],
        PeerCommand::Remove(config) => vec![Job::Remove(Remove::new(config))],
        PeerCommand::Seed(config) => vec![Job::Seed(Box::new(Seed::new(now, config)))],
        PeerCommand::Create(config) => vec![Job::Create(Box::new(Create::new(now, config)))],
        PeerCommand::Show(config) => vec![Job::Show(Show::new(config))],
        PeerCommand::Export(config) => vec![Job::Export(Box::new(Export::new(config)))],
    }
}

/// The port that others are told where one port is all that they are told: by peers' handshakes and by trackers over HTTP
/// and UDP. Where we are reached through another address it is that one's; 0 if we do not listen.
fn port_told(reach: Option<&ReachConfig>, local: Option<SocketAddr>) -> u16 {
    let advertised = reach.and_then(|reach| reach.advertise.first()?.port);
    advertised.unwrap_or_else(|| local.map_or(0, |local| local.port()))
}

/// Who we are to the tracker: where we listen is what the user says, or what the interfaces have.
fn hello(id: PeerId, reach: Option<ReachConfig>, local: Option<SocketAddr>) -> HelloConfig {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let listen_addrs = match (&reach, local) {
        (Some(reach), Some(local)) => listen_addrs(&reach.advertise, local),
        _ => Vec::new(),
    };
    HelloConfig {
        peer_id: id,
        listen_addrs,
        host: host.unwrap_or_default(),
        zone: reach.and_then(|reach| reach.zone).unwrap_or_default(),
        token: String::new(),
    }
}

fn listen_addrs(advertised: &[Advertised], local: SocketAddr) -> Vec<SocketAddr> {
    if !advertised.is_empty() {
        let addr = |a: &Advertised| SocketAddr::new(a.ip, a.port.unwrap_or_else(|| local.port()));
        return advertised.iter().map(addr).collect();
    }
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let mut addrs: Vec<SocketAddr> = interface_ips()
        .into_iter()
        .filter(|ip| local.is_ipv6() || ip.is_ipv4())
        .map(|ip| SocketAddr::new(ip, local.port()))
        .collect();
    addrs.truncate(HELLO_ADDRS_MAX - 1);
    // The tracker adds the address that it sees us at, with the port of an address that we name.
    addrs.push(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), local.port()));
    addrs
}

/// The addresses of this machine that others could use.
fn interface_ips() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut ips: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|ip| !ip.is_loopback() && !is_link_local(*ip))
        .collect();
    ips.dedup();
    ips
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
