//! Of uTP (BEP 29) what it takes to say that we do not speak it: a SYN is read, and a RESET is written.
//!
//! Owns the layout of the header. A RESET has exactly the length of the shortest SYN, so that nobody gains bytes by a
//! forged address; and a RESET is no SYN, so that two who refuse one another do not go on.

use crate::wire::{Put, Reader, WireError};

/// Bytes of the header, the longest RESET and the shortest SYN.
pub const HEADER_BYTES: usize = 20;

/// Type and version of a SYN: type 4 in the upper half, version 1 in the lower.
const SYN: u8 = 0x41;
/// The same of a RESET: type 3.
const RESET: u8 = 0x31;
/// No extension follows.
const EXTENSION_NONE: u8 = 0;

/// The first packet of somebody who wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// What the sender listens for: every answer to a SYN bears it as it is.
    pub connection_id: u16,
    /// The number that an answer acknowledges.
    pub seq_nr: u16,
}

impl Syn {
    /// Reads a datagram. Extensions are skipped, and so is what follows them.
    ///
    /// # Errors
    /// [`WireError::UnknownType`] of what is no SYN of version 1, [`WireError::Truncated`] of one that ends too early.
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(datagram);
        if reader.u8()? != SYN {
            return Err(WireError::UnknownType);
        }
        let mut extension = reader.u8()?;
        let connection_id = reader.u16()?;
        // Two timestamps and a window, which say nothing of a connection that is not.
        reader.bytes(12)?;
        let seq_nr = reader.u16()?;
        let _ack_nr = reader.u16()?;
        while extension != EXTENSION_NONE {
            extension = reader.u8()?;
            let len = reader.u8()?;
            reader.bytes(usize::from(len))?;
        }
        Ok(Self {
            connection_id,
            seq_nr,
        })
    }

    /// Appends the RESET that refuses it: [`HEADER_BYTES`].
    pub fn put_reset(&self, out: &mut Vec<u8>) {
        out.put_u8(RESET);
        out.put_u8(EXTENSION_NONE);
        out.put_u16(self.connection_id);
        // No timestamp, no difference of timestamps, no window: whoever counts these takes 0 for none.
        out.extend_from_slice(&[0; 12]);
        out.put_u16(0);
        // libtorrent ignores a RESET that acknowledges anything but what it sent last.
        out.put_u16(self.seq_nr);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As libtorrent sends it.
    fn syn() -> Vec<u8> {
        let mut bytes = vec![0x41, 0, 0xab, 0xcd];
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&[0x12, 0x34, 0, 0]);
        bytes
    }

    /// With two extensions.
    fn extended() -> Vec<u8> {
        let mut bytes = syn();
        bytes[1] = 2;
        bytes.extend_from_slice(&[9, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5]);
        bytes
    }

    const READ: Syn = Syn {
        connection_id: 0xabcd,
        seq_nr: 0x1234,
    };

    #[test]
    fn reads_a_syn_with_extensions_and_without() {
        assert_eq!(Syn::parse(&syn()), Ok(READ));
        assert_eq!(Syn::parse(&extended()), Ok(READ));
    }

    #[test]
    fn a_syn_that_ends_too_early_is_none() {
        for whole in [syn(), extended()] {
            for cut in 0..whole.len() {
                assert_eq!(Syn::parse(&whole[..cut]), Err(WireError::Truncated));
            }
        }
    }

    #[test]
    fn other_types_and_versions_are_none() {
        for first in (0..=u8::MAX).filter(|&first| first != 0x41) {
            let mut bytes = syn();
            bytes[0] = first;
            assert_eq!(Syn::parse(&bytes), Err(WireError::UnknownType), "{first:x}");
        }
    }

    #[test]
    fn a_reset_bears_the_id_and_acknowledges_the_number() {
        let mut out = Vec::new();
        READ.put_reset(&mut out);
        let mut expected = vec![0x31, 0, 0xab, 0xcd];
        expected.extend_from_slice(&[0; 14]);
        expected.extend_from_slice(&[0x12, 0x34]);
        assert_eq!(out, expected);
        assert_eq!(out.len(), HEADER_BYTES);
    }

    proptest! {
        #[test]
        fn no_answer_is_longer_than_what_came_or_answered_itself(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80), is_like_one: bool, extension in 0u8..3,
        ) {
            if let (true, [first, second, ..]) = (is_like_one, &mut bytes[..]) {
                (*first, *second) = (SYN, extension);
            }
            if let Ok(syn) = Syn::parse(&bytes) {
                let mut out = Vec::new();
                syn.put_reset(&mut out);
                prop_assert!(out.len() <= bytes.len());
                prop_assert_eq!(&out[2..4], &bytes[2..4]);
                prop_assert_eq!(Syn::parse(&out), Err(WireError::UnknownType));
            }
        }
    }
}
