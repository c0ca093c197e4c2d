//! Which trackers of a torrent are asked, and in which order (BEP 12).

use crate::base::{Escaped, Rng};
use crate::wire::url::TrackerUrl;

/// Trackers of one content; further ones are left out. Few torrents name more than fifty.
pub(super) const TRACKERS_MAX: usize = 128;
/// URLs of one content that are looked at.
const URLS_MAX: usize = 1024;
/// Characters of a URL of others that are shown.
const SHOWN_CHARS_MAX: usize = 100;

/// The order of a content's trackers, which are named by index.
#[derive(Debug, Default)]
pub(super) struct Tiers(Vec<Vec<usize>>);

/// What could be made of the URLs that a torrent has.
pub(super) struct Read {
    pub urls: Vec<TrackerUrl>,
    pub tiers: Tiers,
    /// What was left out, safe to show.
    pub warning: Option<String>,
}

impl Tiers {
    /// Reads the URLs as they stand in a torrent, and puts those of each tier into random order. What we cannot announce to
    /// is left out, and so is what was named before.
    pub(super) fn read(written: &[Vec<String>], rng: &mut Rng) -> Read {
        let (mut urls, mut tiers): (Vec<TrackerUrl>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
        let (mut left_out, mut first) = (0, None);
        let mut looked_at = 0;
        for tier in written {
            let mut places = Vec::new();
            for text in tier.iter().take(URLS_MAX - looked_at) {
                looked_at += 1;
                let why = match TrackerUrl::parse(text) {
                    Ok(url) if urls.contains(&url) => continue,
                    Ok(_) if urls.len() == TRACKERS_MAX => "there are too many".to_owned(),
                    Ok(url) => {
                        places.push(urls.len());
                        urls.push(url);
                        continue;
                    }
                    Err(error) => error.to_string(),
                };
                left_out += 1;
                first.get_or_insert((text, why));
            }
            if !places.is_empty() {
                rng.shuffle(&mut places);
                tiers.push(places);
            }
        }
        let warning = first.map(|(text, why)| {
            let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            let shown = Escaped(&shown);
            match left_out {
                1 => format!("tracker {shown} is left out: {why}"),
                more => format!("{more} trackers are left out; the first, {shown}: {why}"),
            }
        });
        Read {
            urls,
            tiers: Self(tiers),
            warning,
        }
    }

    /// All trackers, in the order in which they are asked.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().flatten().copied()
    }

    /// A tracker answered: it is the first of its tier from now on.
    pub(super) fn promote(&mut self, tracker: usize) {
        for tier in &mut self.0 {
            if let Some(at) = tier.iter().position(|&place| place == tracker) {
                tier[..=at].rotate_right(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tiers: &[&[&str]]) -> Read {
        let tier = |urls: &&[&str]| urls.iter().map(|&url| url.to_owned()).collect();
        let written: Vec<Vec<String>> = tiers.iter().map(tier).collect();
        Tiers::read(&written, &mut Rng::new(1))
    }

    #[test]
    fn trackers_stay_in_their_tier_and_change_their_order_there() {
        let tier: Vec<String> = (1..=20).map(|port| format!("udp://h:{port}")).collect();
        let written = [tier, vec!["http://last".to_owned()]];
        let read = Tiers::read(&written, &mut Rng::new(7));
        let order: Vec<usize> = read.tiers.iter().collect();
        assert_ne!(order[..20], (0..20).collect::<Vec<_>>());
        assert_eq!(order[20], 20);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..21).collect::<Vec<_>>());
    }

    #[test]
    fn who_answers_moves_to_the_front_of_its_tier_only() {
        let mut tiers = Tiers(vec![vec![2, 0, 1], vec![3, 4]]);
        tiers.promote(1);
        tiers.promote(4);
        assert_eq!(tiers.iter().collect::<Vec<_>>(), [1, 2, 0, 4, 3]);
    }

    #[test]
    fn what_cannot_be_used_is_left_out_with_a_word() {
        let all = read(&[
            &["https://a/x"],
            &["http://b", "http://B/", "wss://\u{1b}c"],
        ]);
        assert_eq!(all.urls.len(), 1);
        let warning = all.warning.expect("two are left out");
        assert!(warning.contains("2 trackers"), "{warning}");
        assert!(warning.contains("https://a/x: only http://"), "{warning}");
        let hostile = read(&[&["wss://\u{1b}[2J"]]).warning.expect("a word");
        assert!(hostile.contains("\\u{1b}"), "{hostile}");
        assert!(read(&[&["http://b"], &["http://b/"]]).warning.is_none());
        assert!(read(&[]).urls.is_empty());
    }

    #[test]
    fn a_torrent_cannot_name_more_than_so_many() {
        let tiers: Vec<Vec<String>> = (1..=60_000)
            .map(|port| vec![format!("udp://h:{port}")])
            .collect();
        let read = Tiers::read(&tiers, &mut Rng::new(1));
        assert_eq!(read.urls.len(), TRACKERS_MAX);
        assert_eq!(read.tiers.iter().count(), TRACKERS_MAX);
        let warning = read.warning.expect("many are left out");
        let left_out = format!("{} trackers", URLS_MAX - TRACKERS_MAX);
        assert!(warning.starts_with(&left_out), "{warning}");
    }
}
