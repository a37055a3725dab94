//! What an error of etcd's client means for the call that got it.

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use crate::{LeaseId, StoreError};

/// What follows from a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not carried out; this member or another may yet do it.
    NotDone(String),
    /// It may have been carried out.
    Unclear(String),
    /// The leader that it was sent to is gone: it may have been carried out, or nobody will ever answer it. The member
    /// that was asked is well.
    LeaderGone(String),
    /// etcd looked at it and said no.
    Refused(Refused),
}

impl Failure {
    /// The same of a question that was asked before anything was sent.
    pub(super) fn before_sending(self) -> Self {
        match self {
            Self::Unclear(why) | Self::LeaderGone(why) | Self::NotDone(why) => Self::NotDone(why),
            Self::Refused(refused) => Self::Refused(refused),
        }
    }

    /// Whether etcd itself said so, over a connection that works.
    pub(super) fn is_etcds_word(&self) -> bool {
        match self {
            Self::NotDone(why) | Self::Unclear(why) => why.contains("etcdserver: "),
            Self::LeaderGone(_) | Self::Refused(_) => true,
        }
    }
}

/// Why etcd said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The revision is compacted.
    Compacted,
    /// The revision has not happened.
    Future,
    /// A lease is not there.
    NoLease,
    /// Anything else.
    Other(StoreError),
}

impl Refused {
    /// The error of a call that named no revision and no lease.
    pub(super) fn plain(self) -> StoreError {
        match self {
            Self::Compacted => StoreError::Damaged("etcd speaks of a compaction nobody asked about".into()),
            Self::Future => StoreError::Damaged("etcd speaks of a future nobody asked about".into()),
            Self::NoLease => StoreError::Damaged("etcd speaks of a lease nobody asked about".into()),
            Self::Other(error) => error,
        }
    }

    /// The error of a call about one lease.
    pub(super) fn of_lease(self, lease: LeaseId) -> StoreError {
        match self {
            Self::NoLease => StoreError::NoLease(lease),
            other @ (Self::Compacted | Self::Future | Self::Other(_)) => other.plain(),
        }
    }
}

/// What the error means. Codes are ambiguous, so the texts count too; what nobody knows is unclear.
pub(super) fn judge(error: &Error) -> Failure {
    match error {
        Error::GRpcStatus(status) => judge_status(status),
        Error::LeaseKeepAliveError(why) if why.contains("lease not found") => {
            Failure::Refused(Refused::NoLease)
        }
        other => Failure::Unclear(other.to_string()),
    }
}

fn judge_status(status: &Status) -> Failure {
    let why = status.message().to_owned();
    if never_connected(status) {
        return Failure::NotDone(format!("no connection: {why}"));
    }
    match status.code() {
        Code::OutOfRange if why.contains("has been compacted") => Failure::Refused(Refused::Compacted),
        Code::OutOfRange if why.contains("is a future revision") => Failure::Refused(Refused::Future),
        Code::NotFound if why.contains("lease not found") => Failure::Refused(Refused::NoLease),
        Code::ResourceExhausted if why.contains("database space exceeded") => {
            Failure::Refused(Refused::Other(StoreError::Full(format!(
                "etcd has raised the NOSPACE alarm and accepts only deletes; {}",
                super::REMEDY
            ))))
        }
        Code::ResourceExhausted if why.contains("too many requests") => Failure::NotDone(why),
        Code::Unavailable if why == "etcdserver: no leader" => Failure::NotDone(why),
        Code::Unavailable if why.contains("not capable") => Failure::NotDone(why),
        Code::InvalidArgument => Failure::Refused(Refused::Other(StoreError::BadCall(why))),
        Code::OutOfRange | Code::ResourceExhausted if too_large(&why) => {
            Failure::Refused(Refused::Other(StoreError::BadCall(why)))
        }
        Code::DataLoss => Failure::Refused(Refused::Other(StoreError::Damaged(why))),
        Code::PermissionDenied | Code::Unauthenticated => {
            Failure::Refused(Refused::Other(StoreError::Unavailable(format!("etcd does not let us: {why}"))))
        }
        code => Failure::Unclear(format!("{code:?}: {why}")),
    }
}

/// Whether an answer is over the limit of a message, so that smaller pages would pass.
pub(super) fn is_too_large(refused: &Refused) -> bool {
    match refused {
        Refused::Other(StoreError::BadCall(why)) => too_large(why),
        Refused::Other(_) | Refused::Compacted | Refused::Future | Refused::NoLease => false,
    }
}

fn too_large(why: &str) -> bool {
    why.contains("decoded message length too large") || why.contains("larger than max")
}

/// Whether the request never left, because no connection came about.
fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn means(status: Status, expected: Expect) {
        expected.assert_eq(&format!("{:?}", judge(&Error::GRpcStatus(status))));
    }

    #[test]
    fn only_what_surely_did_not_happen_is_not_done() {
        means(Status::unavailable("etcdserver: no leader"), expect![[r#"NotDone("etcdserver: no leader")"#]]);
        means(
            Status::resource_exhausted("etcdserver: too many requests"),
            expect![[r#"NotDone("etcdserver: too many requests")"#]],
        );
        means(
            Status::unavailable("etcdserver: request timed out"),
            expect![[r#"Unclear("Unavailable: etcdserver: request timed out")"#]],
        );
        means(
            Status::unavailable("etcdserver: leader changed"),
            expect![[r#"Unclear("Unavailable: etcdserver: leader changed")"#]],
        );
        means(
            Status::unknown("h2 protocol error: error reading a body"),
            expect![[r#"Unclear("Unknown: h2 protocol error: error reading a body")"#]],
        );
    }

    #[test]
    fn a_refusal_says_what_the_caller_can_do() {
        means(
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
            expect!["Refused(Compacted)"],
        );
        means(
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision"),
            expect!["Refused(Future)"],
        );
        means(Status::not_found("etcdserver: requested lease not found"), expect!["Refused(NoLease)"]);
        means(
            Status::invalid_argument("etcdserver: duplicate key given in txn request"),
            expect![[r#"Refused(Other(BadCall("etcdserver: duplicate key given in txn request")))"#]],
        );
        means(
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
            expect![[
                r#"Refused(Other(Full("etcd has raised the NOSPACE alarm and accepts only deletes; compact etcd, defragment every member, then disarm the alarm: `etcdctl compaction REVISION`, `etcdctl defrag --cluster`, `etcdctl alarm disarm`")))"#
            ]],
        );
    }
}
