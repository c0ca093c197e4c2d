//! Says to those who dial us by uTP (BEP 29) that we do not speak it, so that they dial by TCP at once.
//!
//! Without a word they wait for one: libtorrent 2.0 dials by uTP first, gives up after 3 s, and may not take our dial
//! meanwhile; Transmission 4 dials by TCP when it is refused. (Transmission 3.00 does not even then: it is to be
//! dialled.) Nothing but a SYN is answered, with fewer bytes or as many, and not more often than [`RESETS_MAX`] in
//! [`SPAN`]: more than that come from nobody who wants something.

use std::time::Duration;

use crate::base::Time;
use crate::wire::utp::Syn;

/// How many are refused in a [`SPAN`]; the rest wait as if we were silent.
const RESETS_MAX: u32 = 200;
/// The time after which the count begins anew.
const SPAN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Refuser {
    resets_left: u32,
    /// When there are [`RESETS_MAX`] again.
    renewed_at: Time,
}

impl Refuser {
    pub(super) const fn new() -> Self {
        Self {
            resets_left: RESETS_MAX,
            renewed_at: Time::ZERO,
        }
    }

    /// A datagram came where we listen. Appends what it is answered with, if it is.
    pub(super) fn datagram(&mut self, now: Time, bytes: &[u8], reply: &mut Vec<u8>) {
        let Ok(syn) = Syn::parse(bytes) else {
            return;
        };
        if now >= self.renewed_at {
            self.resets_left = RESETS_MAX;
            self.renewed_at = now + SPAN;
        }
        if self.resets_left > 0 {
            self.resets_left -= 1;
            syn.put_reset(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::utp::HEADER_BYTES;

    const SYN: [u8; HEADER_BYTES] = [
        0x41, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0, 0,
    ];

    /// How many of `count` are answered.
    fn answered(refuser: &mut Refuser, now: Time, bytes: &[u8], count: u32) -> usize {
        let mut reply = Vec::new();
        (0..count).for_each(|_| refuser.datagram(now, bytes, &mut reply));
        assert_eq!(reply.len() % HEADER_BYTES, 0);
        reply.len() / HEADER_BYTES
    }

    #[test]
    fn refuses_so_many_in_a_second_and_is_silent_then() {
        let mut refuser = Refuser::new();
        let max = RESETS_MAX as usize;
        let now = Time::ZERO + Duration::from_secs(5);
        assert_eq!(answered(&mut refuser, now, &SYN, RESETS_MAX + 9), max);
        let before = now + Duration::from_millis(999);
        assert_eq!(answered(&mut refuser, before, &SYN, 1), 0);
        let after = now + SPAN;
        assert_eq!(answered(&mut refuser, after, &SYN, RESETS_MAX + 9), max);
    }

    #[test]
    fn what_is_no_syn_gets_silence_and_costs_nothing() {
        let mut refuser = Refuser::new();
        let mut reset = SYN;
        reset[0] = 0x31;
        for garbage in [&reset[..], &SYN[..19], b"", b"d1:ad2:id20:"] {
            assert_eq!(answered(&mut refuser, Time::ZERO, garbage, RESETS_MAX), 0);
        }
        assert_eq!(answered(&mut refuser, Time::ZERO, &SYN, 1), 1);
    }
}
