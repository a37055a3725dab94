//! Every place and every deliberate defect by name, so that a report can tell which were never reached.

/// The places, by the part that reaches them.
pub const PLACES: &[&str] = &[
    // What the committer sends to the store, and the store's answer; both can fail: not sent, outcome unknown.
    "store.commit.send",
    "store.commit.answer",
    // The embedded store's journal: about to be written; durable, and not seen by anybody yet.
    "store.journal.before",
    "store.journal.after",
    // A write: decided on the cache; in the store, and not answered yet.
    "server.write.decided",
    "server.write.committed",
    // Placements on one node: admitted; in the store, and not answered yet.
    "server.bind.admitted",
    "server.bind.committed",
    // An agent's session, before and after its key is put, and before that of a silent one is deleted.
    "server.session.before",
    "server.session.put",
    "server.session.ending",
    // The server's own key: before and after it is put, after each renewal.
    "server.key.before",
    "server.key.put",
    "server.key.renewed",
    // One revision of the store on its way to the cache and all watchers.
    "server.fanout.before",
    "server.fanout.after",
    // The work on one key: nothing looked at yet; planned; between two waves; before its status is written.
    "runtime.key.taken",
    "runtime.key.planned",
    "runtime.key.wave-done",
    "runtime.status.before",
    // Controllers that look at everything at once: actions planned and not sent.
    "runtime.step.planned",
    // Any wave, and placements: before they are sent, after the answer.
    "runtime.wave.before",
    "runtime.wave.after",
    "runtime.bind.before",
    "runtime.bind.after",
    // A Lease, taken or renewed, and given back.
    "runtime.lease.before",
    "runtime.lease.after",
    "runtime.lease.back",
    // The agent's journal: about to be written; durable, and nobody told.
    "agent.journal.before",
    "agent.journal.after",
    // What an earlier agent left, before it is taken on and after.
    "agent.recover.before",
    "agent.recover.after",
    // A session's number is journalled, the session not open.
    "agent.session.before",
    // A Task being prepared: its folder made, its shim started, the shim's process journalled.
    "agent.home.made",
    "agent.shim.launched",
    "agent.shim.known",
    // An attempt: journalled, about to be asked for, answered.
    "agent.start.journalled",
    "agent.start.before",
    "agent.start.after",
    // An end was heard of, a lost shim's containers are about to be removed.
    "agent.exit.heard",
    "agent.bury.before",
    // TERM and KILL are about to be sent.
    "agent.stop.term",
    "agent.stop.kill",
    // A Task that ended: the ending journalled, its shim gone, everything of it gone.
    "agent.cleanup.journalled",
    "agent.cleanup.shim-ended",
    "agent.cleanup.after",
    // Statuses, before they are sent and after the answer.
    "agent.status.before",
    "agent.status.after",
    // A Task's end: about to be acknowledged; the store has it, the journal still remembers the Task.
    "agent.acknowledge.before",
    "agent.forget.before",
    // A shim: listens in the process that the agent waits for; on its own.
    "shim.launch.bound",
    "shim.launch.spawned",
    // An attempt in the shim: asked for, its first process made, running and not answered.
    "shim.start.before",
    "shim.start.created",
    "shim.start.answer",
    // The same in the process that the shim forks for it: only that one is killed.
    "shim.helper.create",
    "shim.helper.start",
    "shim.helper.started",
    // A container's end: seen; recorded, and nobody told.
    "shim.exit.seen",
    "shim.exit.written",
    // A container is about to be killed.
    "shim.kill.before",
    // The shim's own end: about to remove what is left; all removed, not answered.
    "shim.shutdown.before",
    "shim.shutdown.after",
];

/// The defects, each of which the history checker must catch.
pub const SEEDED_BUGS: &[&str] = &[
    // The committer: an unsent call is answered as done; after an unknown outcome a group goes again without conditions.
    "unsent-is-acknowledged",
    "resent-without-conditions",
    // Bind leaves out: that the decision was made on the Node as it is, that the Node stays so, that the ledger does,
    // what it bound itself, that the Task is free.
    "bind-on-an-old-decision",
    "bind-skips-the-node",
    "bind-skips-the-ledger",
    "bind-forgets-its-own",
    "bind-twice",
    // Room is free: once a Task is told to stop; while it stops.
    "room-free-at-deletion",
    "room-free-while-stopping",
    // A Task's finalizer goes without its agent's word; its phase goes back.
    "finalizer-off-by-anybody",
    "phase-goes-back",
    // An object goes although a finalizer holds it; although one of its owners is there.
    "deleted-in-one-step",
    "one-owner-gone-is-enough",
    // A Lease changes hands without an epoch; a leader's epoch is not asked for; a leader leaves it out.
    "holder-without-epoch",
    "leader-without-epoch",
    "fence-not-asked",
    // Bind takes the epoch of any Lease for the scheduler's.
    "bind-by-any-lease",
    // Writes: one that changes nothing is stored; generations; the version answered.
    "no-op-is-written",
    "generation-stays",
    "generation-by-status",
    "answer-names-another-revision",
    // Reads that must be current are not.
    "list-of-a-lagging-cache",
    // Watches.
    "watch-drops-an-event",
    "watch-keeps-who-left",
    "watch-repeats-on-resuming",
    "watch-resumes-after-a-gap",
    "watch-splits-a-revision",
    "bookmark-comes-early",
    // The App controller: starting Tasks count as available, stopping ones as gone, a generation as seen.
    "rollout-counts-the-unready",
    "surge-without-the-stopping",
    "generation-seen-before-it-is",
    // The node: an end is told while containers run; what a lost shim left is not killed.
    "end-told-before-it-came",
    "leftovers-live-on",
    // What shows in the end alone: the App controller makes all Tasks but the last, or two for one place; the scheduler
    // places all but the last; what belonged to a deleted object stays; an agent does not hear of ends.
    "app-forgets-the-last",
    "app-gives-a-place-twice",
    "scheduler-leaves-the-last",
    "orphans-stay",
    "exits-go-unheard",
];
