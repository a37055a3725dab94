//! What is in the way of a Task, in the words of the scheduler: written into its condition, and read by those who look for
//! the cause.

use std::fmt;

use crate::quantity::Quantity;

/// A fixed host port of the Task is held on a node.
pub const PORT_TAKEN: &str = "with a host port taken";

const NOT_ENOUGH: &str = "not enough ";
const NEAREST: &str = " (nearest ";
const IS_SHORT_OF: &str = " is short of ";
const END: &str = ")";

/// What the node that comes nearest lacks of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// `cpu`, `memory` or `disk`.
    pub resource: String,
    /// Name of the node.
    pub node: String,
    /// How much is missing.
    pub amount: Quantity,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, node, amount } = self;
        write!(f, "{NOT_ENOUGH}{resource}{NEAREST}{node}{IS_SHORT_OF}{amount}{END}")
    }
}

impl Shortage {
    /// Every shortage in a message such as `0 of 1 nodes fit: 1 not enough cpu (nearest n1 is short of 200m)`.
    pub fn all_in(message: &str) -> Vec<Self> {
        let parts = message.split(NOT_ENOUGH).skip(1);
        let shortage = |part: &str| {
            let (resource, rest) = part.split_once(NEAREST)?;
            let (node, rest) = rest.split_once(IS_SHORT_OF)?;
            let (amount, _) = rest.split_once(END)?;
            Some(Self { resource: resource.into(), node: node.into(), amount: Quantity::new(amount) })
        };
        parts.filter_map(shortage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_read_out_of_a_message_wherever_they_stand() {
        let found = |message: &str| -> Vec<String> {
            let told =
                |short: Shortage| format!("{} {} {:?}", short.resource, short.node, short.amount.millis());
            Shortage::all_in(message).into_iter().map(told).collect()
        };
        assert_eq!(found("there is no node"), [""; 0]);
        assert_eq!(found("0 of 2 nodes fit: 2 not enough free"), [""; 0]);
        assert_eq!(
            found(
                "0 of 4 nodes fit: 2 not enough memory (nearest n1 is short of 1Ki), 1 cordoned, \
                 1 not enough cpu (nearest n.2 is short of 200m)"
            ),
            ["memory n1 Ok(1024000)", "cpu n.2 Ok(200)"]
        );
    }

    #[test]
    fn a_shortage_is_read_as_it_was_written() {
        let shortage = |resource: &str, node: &str, amount: &str| Shortage {
            resource: resource.into(),
            node: node.into(),
            amount: Quantity::new(amount),
        };
        let all = [
            shortage("cpu", "n1", "200m"),
            shortage("memory", "n-2.a", "64Mi"),
            shortage("disk", "n3", "1Gi"),
        ];
        for first in &all {
            assert_eq!(Shortage::all_in(&first.to_string()), std::slice::from_ref(first));
            for second in &all {
                let message = format!("0 of 4 nodes fit: 2 {first}, 1 {PORT_TAKEN}, 1 {second}");
                assert_eq!(Shortage::all_in(&message), [first.clone(), second.clone()], "{message}");
            }
        }
    }
}
