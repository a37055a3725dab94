//! Node: says which machines are Ready, and gives up the Tasks of those that stay away.
//! Reads Node, the Tasks bound to it, and the presence that an apiserver reports. Writes Node and Task conditions.
//! Promises: gives nothing up on the word of a server that may not be believed, nor when most nodes vanish at once.
//! Leaves alone: what replaces a Task given up (app), and when a Node is deleted (the operator).

pub mod observed;
pub mod plan;
