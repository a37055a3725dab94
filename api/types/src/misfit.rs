//! How the scheduler words in a Task's condition what is in its way, for those who look for the cause.

use crate::quantity::Quantity;

/// A fixed host port of the Task is held on a node.
pub const PORT_TAKEN: &str = "with a host port taken";

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

impl Shortage {
    /// Every shortage in a message such as `0 of 1 nodes fit: 1 not enough cpu (nearest n1 is short of 200m)`.
    pub fn all_in(message: &str) -> Vec<Self> {
        let parts = message.split("not enough ").skip(1);
        let shortage = |part: &str| {
            let (resource, rest) = part.split_once(" (nearest ")?;
            let (node, rest) = rest.split_once(" is short of ")?;
            let (amount, _) = rest.split_once(')')?;
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
}
