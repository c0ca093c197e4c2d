//! What was asked of the tracker: how it waits, and what becomes of it on its way.

use std::borrow::Cow;

use super::OwnedRequest;
use crate::base::InfoHash;
use crate::wire::WireError;
use crate::wire::native::{CHUNK_BYTES_MAX, Request};

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) token: u64,
    pub(super) want: Want,
}

/// What a waiting request is to become.
#[derive(Debug)]
pub(super) enum Want {
    Plain(OwnedRequest),
    Register(Cow<'static, [u8]>),
    Info(Assembly),
}

/// A request without its reply.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: u32,
    pub(super) task: Task,
}

/// What its reply is for.
#[derive(Debug)]
pub(super) enum Task {
    Hello,
    Ping,
    Plain {
        token: u64,
        reply_kind: u8,
    },
    Register {
        token: u64,
        info: Cow<'static, [u8]>,
        /// `None` once the last chunk is sent.
        next: Option<usize>,
    },
    Info {
        token: u64,
        assembly: Assembly,
    },
}

/// An info dictionary on its way.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) info_hash: InfoHash,
    pub(super) from: u32,
    pub(super) total: Option<u32>,
    pub(super) bytes: Vec<u8>,
}

impl Task {
    /// Whose it is, unless it is our own.
    pub(super) fn token(&self) -> Option<u64> {
        match self {
            Self::Hello | Self::Ping => None,
            Self::Plain { token, .. } | Self::Register { token, .. } | Self::Info { token, .. } => {
                Some(*token)
            }
        }
    }
}

impl InFlight {
    /// Appends the next chunk of a REGISTER.
    pub(super) fn put_chunk(&mut self, out: &mut Vec<u8>) {
        let Task::Register { info, next, .. } = &mut self.task else {
            return;
        };
        let Some(start) = *next else {
            return;
        };
        let end = info.len().min(start + CHUNK_BYTES_MAX);
        *next = (end < info.len()).then_some(end);
        let chunk = Request::Register {
            total: info.len() as u32,
            chunk: info[start..end].into(),
            more: next.is_some(),
        };
        chunk.encode(self.id, out);
    }
}

impl Assembly {
    /// Asks for what comes next.
    pub(super) fn request(&self) -> Request<'static> {
        Request::GetInfo {
            info_hash: self.info_hash,
            offset: self.from + self.bytes.len() as u32,
        }
    }

    /// Takes the next bytes of `total`, and says whether they are the last. Every reply must bring some.
    pub(super) fn add(&mut self, total: u32, bytes: &[u8]) -> Result<bool, WireError> {
        if total != *self.total.get_or_insert(total) {
            return Err(WireError::BadValue);
        }
        let missing = u64::from(total)
            .saturating_sub(u64::from(self.from))
            .saturating_sub(self.bytes.len() as u64);
        if bytes.len() as u64 > missing || (bytes.is_empty() && missing > 0) {
            return Err(WireError::FrameLength);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len() as u64 == missing)
    }
}
