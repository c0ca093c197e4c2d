//! The values that requests and replies are made of: addresses, bitmaps, members and entries.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{HaveState, Item, MEMBER_ADDRS_MAX, PIECES_MAX, PeerChange, cut};
use crate::base::{Bitfield, Digest32, InfoHash, PeerId};
use crate::wire::{Put, Reader, WireError};

const FAMILY_V4: u8 = 4;
const FAMILY_V6: u8 = 6;

/// The bitmap length that means "all pieces".
const ALL: u32 = u32::MAX;

/// Which pieces somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bitmap<'a> {
    /// Every piece.
    All,
    /// No piece.
    None,
    /// The number of pieces, and a bit for each: high bit first, spare bits zero.
    Bits(u32, Cow<'a, [u8]>),
}

impl<'a> Bitmap<'a> {
    /// The shortest form of `have`.
    pub fn of(have: &'a Bitfield) -> Self {
        if have.is_all() {
            Self::All
        } else if have.is_empty() {
            Self::None
        } else {
            Self::Bits(have.len(), have.as_bytes().into())
        }
    }

    /// The set of a content with `pieces` pieces, or `None` if this is the bitmap of another number of pieces.
    pub fn to_bitfield(&self, pieces: u32) -> Option<Bitfield> {
        match self {
            Self::All => Some(Bitfield::all(pieces)),
            Self::None => Some(Bitfield::none(pieces)),
            Self::Bits(len, bytes) if *len == pieces => Bitfield::from_bytes(pieces, bytes),
            Self::Bits(..) => None,
        }
    }

    /// The bitmap without the borrow.
    pub fn into_owned(self) -> Bitmap<'static> {
        match self {
            Self::All => Bitmap::All,
            Self::None => Bitmap::None,
            Self::Bits(len, bytes) => Bitmap::Bits(len, bytes.into_owned().into()),
        }
    }

    pub(super) fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        match reader.u32()? {
            ALL => Ok(Self::All),
            0 => Ok(Self::None),
            len if len > PIECES_MAX => Err(WireError::TooMany),
            len => {
                let bytes = reader.bytes(Bitfield::byte_len(len))?;
                let spare_mask = (1u8 << ((8 - len % 8) % 8)) - 1;
                if bytes.last().is_some_and(|last| last & spare_mask != 0) {
                    return Err(WireError::BadValue);
                }
                Ok(Self::Bits(len, bytes.into()))
            }
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::All => out.put_u32(ALL),
            Self::None => out.put_u32(0),
            Self::Bits(len, bytes) => {
                assert_eq!(bytes.len(), Bitfield::byte_len(*len), "{len} pieces");
                out.put_u32(*len);
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Addresses of one member: none, one, or one per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddrPair {
    addrs: [Option<SocketAddr>; MEMBER_ADDRS_MAX],
}

impl AddrPair {
    /// The addresses, first to last.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addrs.iter().flatten().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the member cannot be dialled.
    pub fn is_empty(&self) -> bool {
        self.addrs[0].is_none()
    }
}

/// Keeps the first two.
impl FromIterator<SocketAddr> for AddrPair {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addrs: I) -> Self {
        let mut addrs = addrs.into_iter();
        Self {
            addrs: std::array::from_fn(|_| addrs.next()),
        }
    }
}

/// One member of a swarm, as others are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Where it can be dialled.
    pub addrs: AddrPair,
    /// It has everything.
    pub seed: bool,
    /// It fetches nothing more.
    pub upload_only: bool,
    /// It is no Shoal peer: it announced by HTTP or UDP.
    pub foreign: bool,
    /// How near it is to whoever is told, from 0 to 3: 3 is on the same host.
    pub proximity: u8,
    /// The share of the pieces that it has, in 1/65535.
    pub share: u16,
}

impl Member {
    const SEED: u8 = 1;
    const UPLOAD_ONLY: u8 = 2;
    const FOREIGN: u8 = 4;

    /// One of our kind that has everything, of which nothing else is told.
    pub fn complete(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            addrs: AddrPair::default(),
            seed: true,
            upload_only: false,
            foreign: false,
            proximity: 0,
            share: u16::MAX,
        }
    }

    /// The share that `had` of `pieces` is; everything, if there are no pieces.
    pub fn share_of(had: u32, pieces: u32) -> u16 {
        let share = u64::from(had) * u64::from(u16::MAX);
        let share = share.checked_div(u64::from(pieces));
        share.map_or(u16::MAX, |share| share.min(u64::from(u16::MAX)) as u16)
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.seed, Self::SEED)
            | flag(self.upload_only, Self::UPLOAD_ONLY)
            | flag(self.foreign, Self::FOREIGN)
    }
}

/// A member that a PEERS push names, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushedMember {
    /// What happened.
    pub change: PeerChange,
    /// To whom.
    pub member: Member,
}

/// One line of a HAVE_BATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaveItem {
    /// Its index.
    pub piece: u32,
    /// What became of it.
    pub state: HaveState,
}

/// How the count of one piece changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailDelta {
    /// Its index, or [`PIECE_EVERY`](super::PIECE_EVERY).
    pub piece: u32,
    /// So many members more hold it.
    pub delta: i16,
}

/// One content, as LOOKUP finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupEntry<'a> {
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// Bytes of all its files.
    pub size: u64,
    /// Bytes of a piece.
    pub piece_len: u32,
    /// The number of pieces.
    pub n_pieces: u32,
    /// The number of files.
    pub n_files: u32,
    /// The name in the info dictionary.
    pub name: Cow<'a, str>,
    /// The SHA-256 of its one file, if it has one file and says it.
    pub sha256: Option<Digest32>,
    /// When it was registered, in seconds since 1970.
    pub registered_at: u64,
}

/// One content, as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// What LOOKUP would say.
    pub entry: LookupEntry<'a>,
    /// Members that have everything.
    pub seeds: u32,
    /// Members that do not.
    pub leechers: u32,
    /// Copies of the piece that is rarest.
    pub copies_min: u32,
}

/// One machine, as MEMBERS shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEntry<'a> {
    /// What other members are told.
    pub member: Member,
    /// What its machine calls itself.
    pub host: Cow<'a, str>,
    /// Pieces that it has.
    pub pieces_had: u32,
    /// When it completed, in seconds since 1970; 0 is not yet.
    pub completed_at: u64,
    /// Whether it is there now.
    pub connected: bool,
    /// Which pieces it has, if that was asked for and is known.
    pub bitmap: Option<Bitmap<'a>>,
}

/// Bits of the byte that says whether a member is connected: the second announces a bitmap behind it.
const CONNECTED: u8 = 1;
const WITH_BITMAP: u8 = 2;

impl<'a> Item<'a> for SocketAddr {
    type Kept = Self;
    const BYTES_MIN: usize = 7;

    fn put(&self, out: &mut Vec<u8>) {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(FAMILY_V4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(FAMILY_V6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.put_u16(self.port());
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let ip = match reader.u8()? {
            FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
            FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
            _ => return Err(WireError::BadValue),
        };
        Ok(Self::new(ip, reader.u16()?))
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for u16 {
    type Kept = Self;
    const BYTES_MIN: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u16(*self);
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for HaveItem {
    type Kept = Self;
    const BYTES_MIN: usize = 5;

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.piece);
        out.put_u8(self.state.number());
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            piece: reader.u32()?,
            state: HaveState::from_number(reader.u8()?)?,
        })
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for AvailDelta {
    type Kept = Self;
    const BYTES_MIN: usize = 6;

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.piece);
        out.put_u16(self.delta.cast_unsigned());
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            piece: reader.u32()?,
            delta: reader.u16()?.cast_signed(),
        })
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for Member {
    type Kept = Self;
    const BYTES_MIN: usize = 25;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.peer_id.0);
        out.put_u8(self.addrs.len() as u8);
        for addr in self.addrs.iter() {
            addr.put(out);
        }
        out.put_u8(self.flags());
        out.put_u8(self.proximity);
        out.put_u16(self.share);
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let peer_id = PeerId(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count > MEMBER_ADDRS_MAX {
            return Err(WireError::TooMany);
        }
        let mut addrs = AddrPair::default();
        for addr in &mut addrs.addrs[..count] {
            *addr = Some(SocketAddr::take(reader)?);
        }
        let flags = reader.u8()?;
        Ok(Self {
            peer_id,
            addrs,
            seed: flags & Self::SEED != 0,
            upload_only: flags & Self::UPLOAD_ONLY != 0,
            foreign: flags & Self::FOREIGN != 0,
            proximity: reader.u8()?,
            share: reader.u16()?,
        })
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for PushedMember {
    type Kept = Self;
    const BYTES_MIN: usize = 1 + Member::BYTES_MIN;

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.change.number());
        self.member.put(out);
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            change: PeerChange::from_number(reader.u8()?)?,
            member: Member::take(reader)?,
        })
    }

    fn into_owned(self) -> Self {
        self
    }
}

impl<'a> Item<'a> for LookupEntry<'a> {
    type Kept = LookupEntry<'static>;
    const BYTES_MIN: usize = 20 + 8 + 3 * 4 + 2 + 32 + 8;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.info_hash.0);
        out.put_u64(self.size);
        out.put_u32(self.piece_len);
        out.put_u32(self.n_pieces);
        out.put_u32(self.n_files);
        out.put_str(cut(&self.name));
        out.extend_from_slice(&self.sha256.unwrap_or_default());
        out.put_u64(self.registered_at);
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            info_hash: InfoHash(reader.array()?),
            size: reader.u64()?,
            piece_len: reader.u32()?,
            n_pieces: reader.u32()?,
            n_files: reader.u32()?,
            name: reader.str()?.into(),
            sha256: Some(reader.array()?).filter(|digest| *digest != Digest32::default()),
            registered_at: reader.u64()?,
        })
    }

    fn into_owned(self) -> Self::Kept {
        LookupEntry {
            name: self.name.into_owned().into(),
            ..self
        }
    }
}

impl<'a> Item<'a> for ListEntry<'a> {
    type Kept = ListEntry<'static>;
    const BYTES_MIN: usize = LookupEntry::BYTES_MIN + 3 * 4;

    fn put(&self, out: &mut Vec<u8>) {
        self.entry.put(out);
        out.put_u32(self.seeds);
        out.put_u32(self.leechers);
        out.put_u32(self.copies_min);
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            entry: LookupEntry::take(reader)?,
            seeds: reader.u32()?,
            leechers: reader.u32()?,
            copies_min: reader.u32()?,
        })
    }

    fn into_owned(self) -> Self::Kept {
        ListEntry {
            entry: self.entry.into_owned(),
            ..self
        }
    }
}

impl<'a> Item<'a> for MemberEntry<'a> {
    type Kept = MemberEntry<'static>;
    const BYTES_MIN: usize = Member::BYTES_MIN + 2 + 4 + 8 + 1;

    fn put(&self, out: &mut Vec<u8>) {
        self.member.put(out);
        out.put_str(cut(&self.host));
        out.put_u32(self.pieces_had);
        out.put_u64(self.completed_at);
        let connected = if self.connected { CONNECTED } else { 0 };
        match &self.bitmap {
            None => out.put_u8(connected),
            Some(bitmap) => {
                out.put_u8(connected | WITH_BITMAP);
                bitmap.put(out);
            }
        }
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let member = Member::take(reader)?;
        let host = reader.str()?.into();
        let (pieces_had, completed_at) = (reader.u32()?, reader.u64()?);
        let flags = reader.u8()?;
        let bitmap = (flags & WITH_BITMAP != 0).then(|| Bitmap::take(reader));
        Ok(Self {
            member,
            host,
            pieces_had,
            completed_at,
            connected: flags & CONNECTED != 0,
            bitmap: bitmap.transpose()?,
        })
    }

    fn into_owned(self) -> Self::Kept {
        MemberEntry {
            member: self.member,
            host: self.host.into_owned().into(),
            bitmap: self.bitmap.map(Bitmap::into_owned),
            ..self
        }
    }
}
