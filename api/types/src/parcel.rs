//! Bounds, by count and by bytes, of what travels or is written together; and the bound of a text in a status.

use std::borrow::Cow;

/// The most bytes of all keys and values of one call to the store.
pub const CALL_BYTES: usize = 1_400_000;

/// The most bytes of a text that enters a status: a message, or why something failed.
pub const MOST_TEXT: usize = 1024;

/// Marks a text that was cut.
const CUT: &str = " ...";

/// What one message, call or group carries: at most so many items, and so many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Parcel {
    most_items: usize,
    most_bytes: usize,
    items: usize,
    bytes: usize,
}

impl Parcel {
    /// An empty parcel with these bounds.
    pub const fn of(most_items: usize, most_bytes: usize) -> Self {
        Self { most_items, most_bytes, items: 0, bytes: 0 }
    }

    /// The same bounds, with this many bytes in it already.
    pub const fn beside(self, bytes: usize) -> Self {
        Self { bytes: self.bytes + bytes, ..self }
    }

    /// Takes an item in, or returns false when it does not fit. An empty parcel takes any item: one that is too large by
    /// itself then travels alone, and its refusal concerns no other.
    pub fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.items < self.most_items && self.bytes.saturating_add(bytes) <= self.most_bytes;
        if !fits && self.items > 0 {
            return false;
        }
        self.items += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        true
    }

    /// All items in their order, in as few parcels as these bounds allow.
    pub fn cut<T>(self, items: impl IntoIterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
        let mut parcels: Vec<Vec<T>> = Vec::new();
        let mut last = self;
        for item in items {
            let size = bytes(&item);
            match parcels.last_mut() {
                Some(parcel) if last.takes(size) => parcel.push(item),
                Some(_) | None => {
                    last = self;
                    last.takes(size);
                    parcels.push(vec![item]);
                }
            }
        }
        parcels
    }
}

/// A text as it may enter a status: at most [`MOST_TEXT`] bytes.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_TEXT {
        return Cow::Borrowed(text);
    }
    let mut end = MOST_TEXT - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{CUT}", &text[..end]))
}

/// Cuts a text in place to what may enter a status.
pub fn cut_text(long: &mut String) {
    if let Cow::Owned(short) = text(long) {
        *long = short;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_cut_by_count_and_by_bytes_and_keep_their_order() {
        let bounds = Parcel::of(3, 10);
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![1; 7], vec![vec![1, 1, 1], vec![1, 1, 1], vec![1]]),
            (vec![4, 4, 4, 2], vec![vec![4, 4], vec![4, 2]]),
            (vec![10, 1, 9, 1], vec![vec![10], vec![1, 9], vec![1]]),
            (vec![1, 20, 1], vec![vec![1], vec![20], vec![1]]),
            (vec![0, usize::MAX, usize::MAX], vec![vec![0], vec![usize::MAX], vec![usize::MAX]]),
        ] {
            assert_eq!(bounds.cut(sizes, |size| *size), expected);
        }
        assert_eq!(bounds.beside(8).cut([2, 1, 1], |size| *size), [vec![2], vec![1, 1]]);
    }

    #[test]
    fn a_text_is_cut_between_letters_and_says_so() {
        for (letter, count, whole) in [
            ("a", MOST_TEXT, true),
            ("a", MOST_TEXT + 1, false),
            ("é", 600, false),
            ("\u{10348}", 9000, false),
        ] {
            let mut long = letter.repeat(count);
            let before = long.clone();
            cut_text(&mut long);
            assert_eq!(long == before, whole);
            assert!(long.len() <= MOST_TEXT && (whole || long.ends_with("...")), "{long}");
        }
    }
}
