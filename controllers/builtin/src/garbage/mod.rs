//! Garbage: deletes what nobody needs any more.
//! Reads every kind. Deletes dependents without owners, old finished Tasks and Events, what is in a dying Namespace;
//! takes off the finalizers of Namespaces that are empty and of Tasks whose Node is gone. Wakes on any change.
//! Promises: nothing is deleted for want of an owner that the server still knows. Safe to kill at any point.
//! Leaves alone: old Revisions of an App that is there (app), and what stops a Task (node agent).

pub mod observed;
pub mod plan;
