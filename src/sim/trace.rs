//! A readable account of a run: when, who, what and why, one line for each.
//!
//! Nothing is put into words unless somebody listens.

use std::fmt::{self, Write};

use super::Simulation;
use super::network::node_at;
use crate::base::Time;
use crate::swarm::{Note, PeerKey};
use crate::wire::peer::Message;

/// Takes a line of an account.
type Listener = Box<dyn FnMut(&str)>;

/// Who listens.
pub(super) struct Trace {
    listener: Option<Listener>,
    line: String,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_on = self.listener.is_some();
        f.debug_struct("Trace").field("is_on", &is_on).finish()
    }
}

impl Trace {
    /// Nobody listens.
    pub(super) fn off() -> Self {
        Self {
            listener: None,
            line: String::new(),
        }
    }

    /// Each line goes to `listener`.
    pub(super) fn to(listener: Listener) -> Self {
        Self {
            listener: Some(listener),
            line: String::new(),
        }
    }

    /// Whether anybody listens.
    pub(super) fn is_on(&self) -> bool {
        self.listener.is_some()
    }

    /// At `now` something happened at or to node `node`.
    pub(super) fn tell(&mut self, now: Time, node: usize, what: fmt::Arguments<'_>) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        self.line.clear();
        let (seconds, name) = (now.as_secs_f64(), Name(node));
        let _ = write!(self.line, "{seconds:12.6} {name}: {what}");
        listener(&self.line);
    }
}

/// How a node is called in a trace.
pub(super) struct Name(pub usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl Simulation {
    /// Tells of what happened at a node, if anybody listens.
    pub(super) fn tell(&mut self, node: usize, what: fmt::Arguments<'_>) {
        self.trace.tell(self.now, node, what);
    }

    /// The same, unless it was said last: once for all blocks of a piece.
    fn tell_once(&mut self, node: usize, what: fmt::Arguments<'_>) {
        let is_news = !self.trace.line.ends_with(&format!(" n{node}: {what}"));
        if is_news {
            self.tell(node, what);
        }
    }

    /// Tells of what a node decided.
    pub(super) fn tell_notes(&mut self, node: usize) {
        while let Some(Note { addr, decision }) = self.nodes[node].swarm.poll_note() {
            let other = Name(node_at(addr));
            self.tell(node, format_args!("{other} is {decision}"));
        }
    }

    /// Tells of a message that speaks for itself.
    pub(super) fn tell_message(&mut self, node: usize, peer: PeerKey, message: &Message<'_>) {
        let Some(other) = self.other_end(node, peer).filter(|_| self.trace.is_on()) else {
            return;
        };
        let other = Name(other);
        match message {
            Message::Choke => self.tell(node, format_args!("{other} is choked")),
            Message::Unchoke => self.tell(node, format_args!("{other} is unchoked")),
            Message::Suggest { piece } => {
                self.tell(node, format_args!("{other} is suggested piece {piece}"));
            }
            Message::Cancel(request) => {
                let what = format_args!("{other} is asked no longer for piece {}", request.piece);
                self.tell_once(node, what);
            }
            Message::Reject(request) => {
                let what = format_args!("{other} is refused piece {}", request.piece);
                self.tell_once(node, what);
            }
            _ => {}
        }
    }

    /// Tells who is who.
    pub(super) fn tell_cast(&mut self) {
        for node in 0..self.nodes.len() {
            let scenario = &self.scenario;
            let role = if node < scenario.seed_count {
                "a seed"
            } else if scenario.poisoners().contains(&node) {
                "a poisoner"
            } else if scenario.free_riders().contains(&node) {
                "a free rider"
            } else {
                "a getter"
            };
            let (rate, rack) = (scenario.uplink_of(node), scenario.rack_of(node));
            let what = format_args!("is {role} with {rate} bytes/s up, in rack {rack}");
            self.trace.tell(self.now, node, what);
        }
    }
}
