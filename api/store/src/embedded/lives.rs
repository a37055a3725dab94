//! Which past a store has. A data folder that is put back from an older copy carries on under the same numbers: what was
//! told of a revision before may be of a past that the copy does not have. So every opening of the store is a life with
//! an id that no other opening has, of the copy or of the original, and the journal tells where each one began: a
//! revision that was told in a life is of our past when our journal knows that life, and the next one began no earlier.
//! A mere restart changes nothing for anybody: whatever was told had been journalled.

use crate::Rev;

/// One opening of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// Drawn by chance.
    pub(super) id: i64,
    /// The newest revision when it began.
    pub(super) began: Rev,
}

/// The lives of a store up to its own.
#[derive(Debug)]
pub(super) struct Lives {
    history: i64,
    lives: Vec<Life>,
    name: String,
}

impl Lives {
    /// The lives of a history in their order, the last one being ours.
    pub(super) fn new(history: i64, lives: Vec<Life>) -> Self {
        let own = lives.last().map_or(0, |life| life.id);
        Self { history, lives, name: format!("{history:016x}.{own:016x}") }
    }

    /// Of a store that is opened once.
    pub(super) fn only() -> Self {
        Self::new(draw(), vec![Life { id: draw(), began: 0 }])
    }

    /// The history's name; what is before the dot stays from one opening to the next.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `rev`, as it was told under this name, is a revision of ours.
    pub(super) fn include(&self, name: &str, rev: Rev) -> bool {
        let number = |text: &str| i64::from_str_radix(text, 16).ok();
        let Some((history, life)) = name.split_once('.') else { return false };
        let Some(place) = self.lives.iter().position(|known| Some(known.id) == number(life)) else {
            return false;
        };
        let next = self.lives.get(place + 1);
        number(history) == Some(self.history) && next.is_none_or(|next| rev <= next.began)
    }
}

/// A number that nobody else has drawn.
pub(super) fn draw() -> i64 {
    fastrand::i64(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 7;

    fn lives(lives: &[(i64, Rev)]) -> Lives {
        Lives::new(H, lives.iter().map(|(id, began)| Life { id: *id, began: *began }).collect())
    }

    #[test]
    fn a_restart_keeps_the_past_and_a_copy_has_only_what_it_was_copied_with() {
        let first = lives(&[(1, 1)]);
        let restarted = lives(&[(1, 1), (2, 20)]);
        let copy_of_10 = lives(&[(1, 1), (3, 10)]);
        let copy_went_on = lives(&[(1, 1), (3, 10), (4, 50)]);
        for rev in [1, 10, 20] {
            assert!(restarted.include(first.name(), rev), "{rev}");
        }
        assert!(copy_of_10.include(first.name(), 10) && !copy_of_10.include(first.name(), 11));
        assert!(copy_went_on.include(first.name(), 10) && !copy_went_on.include(first.name(), 11));
        assert!(copy_went_on.include(copy_of_10.name(), 50));
        assert!(!copy_went_on.include(restarted.name(), 10), "a life of which the copy never heard");
        assert!(copy_went_on.include(copy_went_on.name(), 1_000), "one's own future is asked of the store");
    }

    #[test]
    fn what_is_no_name_of_this_history_is_not_included() {
        let ours = lives(&[(1, 1)]);
        for name in ["", ".", "7", "7.", "7.x", "8.1", &format!("{:016x}.{:016x}", H + 1, 1)] {
            assert!(!ours.include(name, 1), "{name}");
        }
    }
}
