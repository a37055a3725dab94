//! Everything that the store holds under our prefix, read in pages of one revision.

use berth_store::{At, Page, Store, StoreError};
use futures::Stream;
use futures::stream::try_unfold;

use crate::keys;

/// Keys of one page.
const PAGE: usize = 500;

/// The pages in the order of their keys; at least one. After each one other tasks get their turn: a store in memory
/// answers at once.
pub(super) fn pages(store: &dyn Store, at: At) -> impl Stream<Item = Result<Page, StoreError>> + Send {
    try_unfold(Some((keys::START.to_vec(), at)), move |next| async move {
        let Some((start, at)) = next else { return Ok(None) };
        let page = store.range(&start, keys::END, PAGE, at).await?;
        tokio::task::yield_now().await;
        let last = page.kvs.last().filter(|_| page.more);
        let next = last.map(|last| ([&last.key[..], &[0]].concat(), At::Rev(page.rev)));
        Ok(Some((page, next)))
    })
}
