//! Each limit of the format, and the documented layout.

use std::net::SocketAddr;

use shoal::base::{Bitfield, InfoHash, PeerId};
use shoal::wire::native::*;
use shoal::wire::{TEXT_BYTES_MAX, WireError};

use crate::{frame, request_bytes};

const HASH: InfoHash = InfoHash([7; 20]);

fn plain_hello() -> Request<'static> {
    Request::Hello(Hello::new(PeerId([1; 20]), &[]))
}

/// Where the number of addresses stands in a HELLO: magic, versions, features and peer id come before.
const HELLO_COUNT_AT: usize = 4 + 4 + 8 + 20;

fn one_member() -> Member {
    Member {
        peer_id: PeerId([2; 20]),
        addrs: [SocketAddr::from(([10, 0, 0, 1], 6881))]
            .into_iter()
            .collect(),
        seed: true,
        upload_only: false,
        foreign: false,
        proximity: 0,
        share: u16::MAX,
    }
}

#[test]
fn the_layout_of_a_hello_is_the_documented_one() {
    let addrs = [SocketAddr::from(([10, 0, 0, 1], 0x1ae1))];
    let mut hello = Hello::new(PeerId(*b"-SH0010-abcdefghijkl"), &addrs);
    hello.host = "h".into();
    hello.zone = "s/r".into();
    let bytes = request_bytes(&Request::Hello(hello));
    let expected = [
        &[0, 0, 0, 62, 0x01, 0, 0, 0, 0, 0, 0, 77][..],
        b"SHOL\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"-SH0010-abcdefghijkl\x01\x04\x0a\x00\x00\x01\x1a\xe1",
        b"\x00\x01h\x00\x03s/r\x00\x00",
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn another_major_version_is_told_apart_from_a_bad_frame() {
    let other = decode_changed(&plain_hello(), |payload| {
        payload.truncate(8);
        payload[5] = 2;
    });
    assert_eq!(other, Err(Refusal::Version(2)));
    let stranger = decode_changed(&plain_hello(), |payload| payload[0] = b'X');
    assert_eq!(stranger, Err(Refusal::Malformed(WireError::BadValue)));
}

#[test]
fn a_hello_with_too_many_addresses_is_refused() {
    let nine = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = HELLO_ADDRS_MAX as u8 + 1;
        payload.extend_from_slice(&[4; 99]);
    });
    assert_eq!(nine, Err(Refusal::Malformed(WireError::TooMany)));
    let missing = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = HELLO_ADDRS_MAX as u8;
    });
    assert_eq!(missing, Err(Refusal::Malformed(WireError::Truncated)));
}

#[test]
fn an_address_of_an_unknown_family_is_refused() {
    let family = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = 1;
        let at = HELLO_COUNT_AT + 1;
        payload.splice(at..at, [5, 1, 2, 3, 4, 5, 6]);
    });
    assert_eq!(family, Err(Refusal::Malformed(WireError::BadValue)));
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "x".repeat(TEXT_BYTES_MAX).into(),
    };
    assert_eq!(decode_changed(&lookup, |_| {}), Ok(lookup.clone()));
    let longer = decode_changed(&lookup, |payload| {
        payload[2] += 1;
        payload.push(b'x');
    });
    let refusal = Refusal::Malformed(WireError::TextTooLong);
    assert_eq!(longer, Err(refusal));
    assert_eq!(refusal.code(), ErrorCode::TooLarge);
}

#[test]
fn a_text_that_we_write_is_cut_to_what_is_allowed() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "x".repeat(TEXT_BYTES_MAX + 9).into(),
    };
    let Ok(Request::Lookup { key, .. }) = decode_changed(&lookup, |_| {}) else {
        panic!("a lookup");
    };
    assert_eq!(key.len(), TEXT_BYTES_MAX);
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "name".into(),
    };
    let changed = decode_changed(&lookup, |payload| payload[4] = 0xff);
    assert_eq!(changed, Err(Refusal::Malformed(WireError::TextNotUtf8)));
}

#[test]
fn a_list_that_announces_more_than_the_payload_holds_is_refused() {
    let batch = Request::HaveBatch(HaveBatch {
        slot: 1,
        up: 0,
        down: 0,
        items: List::default(),
        wants_reply: false,
    });
    let count_at = 4 + 8 + 8;
    let beyond = decode_changed(&batch, |payload| payload[count_at + 1] = 1);
    assert_eq!(beyond, Err(Refusal::Malformed(WireError::Truncated)));
    let allowed = decode_changed(&batch, |payload| {
        payload[count_at..].copy_from_slice(&(HAVE_ITEMS_MAX as u16).to_be_bytes());
        payload.resize(payload.len() + 5 * HAVE_ITEMS_MAX, 0);
    });
    let Ok(Request::HaveBatch(allowed)) = allowed else {
        panic!("{allowed:?}");
    };
    assert_eq!(allowed.items.len(), HAVE_ITEMS_MAX);
    let too_many = decode_changed(&batch, |payload| {
        payload[count_at..].copy_from_slice(&(HAVE_ITEMS_MAX as u16 + 1).to_be_bytes());
        payload.resize(payload.len() + 5 * HAVE_ITEMS_MAX + 5, 0);
    });
    assert_eq!(too_many, Err(Refusal::Malformed(WireError::TooMany)));
}

#[test]
fn counts_of_replies_are_checked_as_those_of_requests_are() {
    let lookup = |count: u32| {
        let payload = [&count.to_be_bytes()[..], &[0; 99]].concat();
        Reply::decode(kind::LOOKUP | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(lookup(65), Err(WireError::TooMany));
    assert_eq!(lookup(64), Err(WireError::Truncated));
    assert_eq!(lookup(1), Ok(()));
    let avail = |count: u32| {
        let payload = [&[0; 8][..], &count.to_be_bytes()].concat();
        Reply::decode(kind::AVAIL_QUERY | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(avail(AVAIL_COUNTS_MAX + 1), Err(WireError::TooMany));
    assert_eq!(avail(u32::MAX), Err(WireError::TooMany));
    assert_eq!(avail(AVAIL_COUNTS_MAX), Err(WireError::Truncated));
    let peers = Reply::decode(kind::PEERS | REPLY_BIT, 0, &[0, WANT_MAX as u8 + 1]);
    assert_eq!(peers, Err(WireError::TooMany));
    let members = Reply::decode(kind::MEMBERS | REPLY_BIT, 0, &[0, 0, 0, 0, 1, 1]);
    assert_eq!(members, Err(WireError::TooMany));
}

#[test]
fn a_member_with_too_many_addresses_is_refused() {
    let mut bytes = Vec::new();
    Reply::Peers(List::lent(&[one_member()])).encode(1, &mut bytes);
    let payload = &mut bytes[HEAD_BYTES..];
    payload[2 + 20] = MEMBER_ADDRS_MAX as u8 + 1;
    let longer = [&*payload, &[4, 0, 0, 0, 0, 0, 0].repeat(3)].concat();
    let refused = Reply::decode(kind::PEERS | REPLY_BIT, 0, &longer);
    assert_eq!(refused, Err(WireError::TooMany));
}

#[test]
fn a_bitmap_is_refused_when_it_is_too_long_or_has_spare_bits() {
    let join = |bitmap: &[u8]| {
        let payload = [&HASH.0[..], &[0; 8], bitmap, &[0, 5, 0]].concat();
        Request::decode(kind::JOIN, 0, &payload).map(|_| ())
    };
    assert_eq!(join(&[0, 0, 0, 10, 0xff, 0xc0]), Ok(()));
    let spare = Refusal::Malformed(WireError::BadValue);
    assert_eq!(join(&[0, 0, 0, 10, 0xff, 0xe0]), Err(spare));
    let too_many = Refusal::Malformed(WireError::TooMany);
    assert_eq!(join(&(PIECES_MAX + 1).to_be_bytes()), Err(too_many));
    let truncated = Refusal::Malformed(WireError::Truncated);
    assert_eq!(join(&PIECES_MAX.to_be_bytes()), Err(truncated));
    assert_eq!(join(&u32::MAX.to_be_bytes()), Ok(()));
}

#[test]
fn numbers_beyond_their_limits_are_too_large() {
    let refused = |request: &Request<'_>, at: usize, bytes: &[u8]| {
        let changed = decode_changed(request, |payload| {
            payload[at..at + bytes.len()].copy_from_slice(bytes);
        });
        assert_eq!(changed, Err(Refusal::TooLarge), "{request:?}");
    };
    let register = Request::Register {
        total: INFO_BYTES_MAX,
        chunk: b"de".into(),
        more: false,
    };
    assert_eq!(decode_changed(&register, |_| {}), Ok(register.clone()));
    refused(&register, 0, &(INFO_BYTES_MAX + 1).to_be_bytes());
    let avail = Request::AvailQuery {
        slot: 1,
        first: 0,
        count: 1,
    };
    refused(&avail, 8, &(AVAIL_COUNTS_MAX + 1).to_be_bytes());
    let peers = Request::Peers {
        slot: 1,
        want: 1,
        missing: None,
    };
    refused(&peers, 4, &(WANT_MAX + 1).to_be_bytes());
    let list = Request::List {
        cursor: 0,
        limit: 1,
        glob: "".into(),
    };
    refused(&list, 4, &(PAGE_ENTRIES_MAX + 1).to_be_bytes());
    let members = Request::Members {
        info_hash: HASH,
        cursor: 0,
        limit: 1,
        with_bitmaps: true,
    };
    refused(&members, 24, &(PAGE_ENTRIES_MAX + 1).to_be_bytes());
    assert_eq!(Refusal::TooLarge.code(), ErrorCode::TooLarge);
}

#[test]
fn a_chunk_longer_than_its_whole_is_refused() {
    let refused = Request::decode(kind::REGISTER, 0, &[0, 0, 0, 1, b'd', b'e']);
    assert_eq!(refused, Err(Refusal::Malformed(WireError::FrameLength)));
}

#[test]
fn an_info_reply_longer_than_a_chunk_is_refused() {
    let info = |bytes: usize, total: u32| {
        let payload = [&total.to_be_bytes()[..], &vec![0; bytes]].concat();
        Reply::decode(kind::GET_INFO | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(info(CHUNK_BYTES_MAX, INFO_BYTES_MAX), Ok(()));
    assert!(info(CHUNK_BYTES_MAX + 1, INFO_BYTES_MAX).is_err());
    assert!(info(1, INFO_BYTES_MAX + 1).is_err());
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    for kind in [0x00, 0x11, 0x12, 0x48, 0x7f] {
        let refused = Request::decode(kind, 0, &[0; 99]);
        assert_eq!(refused, Err(Refusal::UnknownType), "{kind:#x}");
        assert_eq!(
            Reply::decode(kind | REPLY_BIT, 0, &[0; 99]).err(),
            (kind != 0x7f).then_some(WireError::UnknownType),
            "{kind:#x}"
        );
    }
    assert_eq!(Push::decode(0x4a, 0, &[0; 99]), Err(WireError::UnknownType));
    assert_eq!(Refusal::UnknownType.code(), ErrorCode::UnknownType);
}

#[test]
fn flags_that_are_neither_known_nor_critical_are_ignored() {
    assert_eq!(
        Request::decode(kind::PING, 0x7e, &[0; 8]),
        Ok(Request::Ping(0))
    );
}

#[test]
fn items_written_one_by_one_make_the_same_frame_as_a_list() {
    let mut listed = b"before".to_vec();
    let mut written = listed.clone();
    let members = [one_member(), one_member()];
    Reply::Peers(List::lent(&members)).encode(9, &mut listed);
    let mut writer = ItemWriter::peers(&mut written, 9);
    assert!(members.iter().all(|member| writer.push(member)));
    writer.finish();
    assert_eq!(written, listed);

    let pushed = PushedMember {
        change: PeerChange::Joined,
        member: one_member(),
    };
    Push::Peers {
        slot: 3,
        members: List::lent(&[pushed]),
    }
    .encode(&mut listed);
    let mut writer = ItemWriter::peers_push(&mut written, 3);
    assert!(writer.push(&pushed));
    writer.finish();
    assert_eq!(written, listed);
}

#[test]
fn no_more_items_are_written_than_a_reader_takes() {
    let mut bytes = Vec::new();
    let mut writer = ItemWriter::peers(&mut bytes, 9);
    while writer.push(&one_member()) {}
    assert_eq!(writer.count(), usize::from(WANT_MAX));
    writer.finish();
    let (head, payload) = frame(&bytes);
    let reply = Reply::decode(head.kind, head.flags, payload).expect("valid");
    let Reply::Peers(members) = reply else {
        panic!("{reply:?}");
    };
    assert!(members.iter().eq([one_member(); WANT_MAX as usize]));
}

#[test]
fn a_page_is_cut_before_the_entry_that_does_not_fit() {
    let bits = vec![0x55; Bitfield::byte_len(PIECES_MAX)];
    let entry = MemberEntry {
        member: one_member(),
        host: "host".into(),
        pieces_had: PIECES_MAX / 2,
        completed_at: 0,
        connected: true,
        bitmap: Some(Bitmap::Bits(PIECES_MAX, bits.into())),
    };
    let mut bytes = Vec::new();
    let mut writer = ItemWriter::members(&mut bytes, 9);
    while writer.push(&entry) {}
    let count = writer.count();
    writer.continue_at(count as u32 + 1);
    writer.finish();
    assert!(bytes.len() <= PAGE_BYTES_MAX + 4);
    assert!(bytes.len() > PAGE_BYTES_MAX - 17_000);
    let (head, payload) = frame(&bytes);
    let Ok(Reply::Members {
        next_cursor,
        entries,
    }) = Reply::decode(head.kind, head.flags, payload)
    else {
        panic!("a page of members");
    };
    assert_eq!((next_cursor as usize, entries.len()), (count + 1, count));
    assert!(entries.iter().all(|read| read == entry));
}

#[test]
fn a_bitmap_and_the_set_it_spells_are_one() {
    let mut have = Bitfield::none(10);
    assert_eq!(Bitmap::of(&have), Bitmap::None);
    have.set(9);
    let bitmap = Bitmap::of(&have);
    assert_eq!(bitmap.to_bitfield(10), Some(have.clone()));
    assert_eq!(bitmap.to_bitfield(11), None);
    assert_eq!(Bitmap::of(&Bitfield::all(10)), Bitmap::All);
    assert_eq!(Bitmap::All.to_bitfield(3), Some(Bitfield::all(3)));
    assert_eq!(Bitmap::of(&Bitfield::none(0)), Bitmap::All);
}

#[test]
fn a_share_is_a_fraction_of_all_pieces() {
    assert_eq!(Member::share_of(0, 10), 0);
    assert_eq!(Member::share_of(5, 10), 32_767);
    assert_eq!(Member::share_of(10, 10), u16::MAX);
    assert_eq!(Member::share_of(0, 0), u16::MAX);
}

/// What becomes of a request when `change` has been at its payload.
fn decode_changed(
    request: &Request<'_>,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Request<'static>, Refusal> {
    let bytes = request_bytes(request);
    let (head, payload) = frame(&bytes);
    let mut payload = payload.to_vec();
    change(&mut payload);
    let payload: &'static [u8] = payload.leak();
    Request::decode(head.kind, head.flags, payload)
}
