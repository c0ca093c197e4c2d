//! Lists: lent by the one who sends, or checked and left in the frame by the one who receives.

use std::fmt;
use std::marker::PhantomData;

use super::kind::{LIST, MEMBERS, PEERS};
use super::{
    FrameWriter, ListEntry, Member, MemberEntry, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PUSH_BIT,
    PushedMember, REPLY_BIT, WANT_MAX,
};
use crate::wire::{Put, Reader, WireError};

/// What a list can hold.
pub trait Item<'a>: Clone {
    /// The same value without the borrow.
    type Kept: Item<'static>;
    /// No item takes fewer bytes.
    const BYTES_MIN: usize;

    /// Appends the wire form.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes one item; may allocate only what was checked to be there.
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError>;

    /// Frees the value from the frame that it was read from.
    fn into_owned(self) -> Self::Kept;
}

/// Some items, in order.
#[derive(Clone)]
pub struct List<'a, T>(Form<'a, T>);

#[derive(Clone)]
enum Form<'a, T> {
    Lent(&'a [T]),
    Kept(Vec<T>),
    /// Every item of these bytes was taken once without an error.
    Wire {
        count: usize,
        bytes: &'a [u8],
    },
}

impl<'a, T: Item<'a>> List<'a, T> {
    /// The items of a slice.
    pub const fn lent(items: &'a [T]) -> Self {
        Self(Form::Lent(items))
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Lent(items) => items.len(),
            Form::Kept(items) => items.len(),
            Form::Wire { count, .. } => *count,
        }
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items, by value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'_, 'a, T> {
        let (slice, bytes): (&[T], &'a [u8]) = match &self.0 {
            Form::Lent(items) => (items, &[]),
            Form::Kept(items) => (items, &[]),
            Form::Wire { bytes, .. } => (&[], bytes),
        };
        let mut reader = Reader::new(bytes);
        (0..self.len()).map(move |at| match slice.get(at) {
            Some(item) => item.clone(),
            None => T::take(&mut reader).expect("taken once when the list was decoded"),
        })
    }

    /// The list without the borrow.
    pub fn into_owned(self) -> List<'static, T::Kept> {
        self.iter().map(T::into_owned).collect()
    }

    /// Takes `count` items, of which the format allows `count_max`.
    pub(super) fn take(
        reader: &mut Reader<'a>,
        count: usize,
        count_max: usize,
    ) -> Result<Self, WireError> {
        if count > count_max {
            return Err(WireError::TooMany);
        }
        if count.saturating_mul(T::BYTES_MIN) > reader.remaining() {
            return Err(WireError::Truncated);
        }
        let mut ahead = reader.clone();
        for _ in 0..count {
            T::take(&mut ahead)?;
        }
        let bytes = reader.bytes(reader.remaining() - ahead.remaining())?;
        Ok(Self(Form::Wire { count, bytes }))
    }

    /// Appends the items, of which the format allows `count_max`. The count is the caller's to write.
    pub(super) fn put(&self, count_max: usize, out: &mut Vec<u8>) {
        let count = self.len();
        assert!(count <= count_max, "{count} items, {count_max} allowed");
        for item in self.iter() {
            item.put(out);
        }
    }
}

impl<T> From<Vec<T>> for List<'_, T> {
    fn from(items: Vec<T>) -> Self {
        Self(Form::Kept(items))
    }
}

impl<T> FromIterator<T> for List<'_, T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Form::Kept(items.into_iter().collect()))
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self(Form::Lent(&[]))
    }
}

impl<'a, T: Item<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Item<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Item<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What comes in pages: its frames begin with the cursor of the next one.
pub trait Paged {}

impl Paged for ListEntry<'_> {}
impl Paged for MemberEntry<'_> {}

/// Writes a frame whose items come one by one, so that no list of them has to exist.
#[derive(Debug)]
#[must_use = "a frame that is not finished has no length"]
pub struct ItemWriter<'v, T> {
    frame: FrameWriter<'v>,
    /// Where the count stands, in the buffer.
    count_at: usize,
    count: u16,
    count_max: u16,
    items: PhantomData<T>,
}

impl<'v> ItemWriter<'v, Member> {
    /// A PEERS reply.
    pub fn peers(out: &'v mut Vec<u8>, request_id: u32) -> Self {
        Self::start(out, PEERS | REPLY_BIT, request_id, None, WANT_MAX)
    }
}

impl<'v> ItemWriter<'v, PushedMember> {
    /// A PEERS push to the member that has `slot`.
    pub fn peers_push(out: &'v mut Vec<u8>, slot: u32) -> Self {
        Self::start(out, PEERS | PUSH_BIT, 0, Some(slot), WANT_MAX)
    }
}

impl<'v> ItemWriter<'v, ListEntry<'_>> {
    /// A LIST reply that continues at `next_cursor` (0 = the end); see [`Self::continue_at`].
    pub fn list(out: &'v mut Vec<u8>, request_id: u32) -> Self {
        Self::start(out, LIST | REPLY_BIT, request_id, Some(0), PAGE_ENTRIES_MAX)
    }
}

impl<'v> ItemWriter<'v, MemberEntry<'_>> {
    /// A MEMBERS reply; see [`Self::continue_at`].
    pub fn members(out: &'v mut Vec<u8>, request_id: u32) -> Self {
        Self::start(
            out,
            MEMBERS | REPLY_BIT,
            request_id,
            Some(0),
            PAGE_ENTRIES_MAX,
        )
    }
}

impl<T: Paged> ItemWriter<'_, T> {
    /// Says where the next page starts; 0, as it is without this call, says that there is none.
    pub fn continue_at(&mut self, next_cursor: u32) {
        let at = self.count_at - 4;
        self.frame.payload()[at..][..4].copy_from_slice(&next_cursor.to_be_bytes());
    }
}

impl<'v, T> ItemWriter<'v, T> {
    /// Items written so far.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Appends `item`, or appends nothing and says `false` if the frame would pass [`PAGE_BYTES_MAX`] or its
    /// number of items.
    #[must_use = "an item that does not fit belongs to the next page"]
    pub fn push<'a>(&mut self, item: &T) -> bool
    where
        T: Item<'a>,
    {
        let before = self.frame.payload().len();
        item.put(self.frame.payload());
        let fits = self.frame.len() <= PAGE_BYTES_MAX && self.count < self.count_max;
        if fits {
            self.count += 1;
        } else {
            self.frame.payload().truncate(before);
        }
        fits
    }

    /// Ends the frame.
    pub fn finish(mut self) {
        let count = self.count.to_be_bytes();
        self.frame.payload()[self.count_at..][..2].copy_from_slice(&count);
        self.frame.finish();
    }

    /// Starts a frame of an optional first number, a count, and items.
    fn start(
        out: &'v mut Vec<u8>,
        kind: u8,
        request_id: u32,
        first: Option<u32>,
        count_max: u16,
    ) -> Self {
        let mut frame = FrameWriter::start(out, kind, 0, request_id);
        if let Some(first) = first {
            frame.payload().put_u32(first);
        }
        let count_at = frame.payload().len();
        frame.payload().put_u16(0);
        Self {
            frame,
            count_at,
            count: 0,
            count_max,
            items: PhantomData,
        }
    }
}
