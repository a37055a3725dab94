//! Reads. A range is read in pages of one revision, so that no answer is over the limit of a message and etcd is
//! never held up by one reader.

use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse, KeyValue};

use super::failure::{Refused, is_too_large};
use super::member::{Members, Repeat};
use crate::{At, Kv, Page, Rev, StoreError};

/// Bytes that a page should have.
const PAGE_BYTES: usize = 4 << 20;
/// Keys of the first page, whose size nobody knows.
const FIRST_PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;

/// etcd's key-value as ours.
pub(super) fn kv(found: KeyValue) -> Kv {
    let (create_rev, mod_rev) = (found.create_revision(), found.mod_revision());
    let (version, lease) = (found.version(), found.lease());
    let (key, value) = found.into_key_value();
    Kv { key: key.into(), value: value.into(), create_rev, mod_rev, version, lease }
}

/// One key, and the revision that was read.
pub(super) async fn get(members: &Members, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), Refused> {
    if key.is_empty() {
        return Err(Refused::Other(StoreError::BadCall("a key is empty".into())));
    }
    let mut found = ask(members, key, GetOptions::new(), at).await?;
    Ok((read_rev(members, &found, at)?, found.take_kvs().pop().map(kv)))
}

/// The keys of a range, in as many pages as it takes. When the newest state is compacted away between two pages,
/// there is a newer one to read.
pub(super) async fn range(
    members: &Members,
    start: &[u8],
    end: &[u8],
    limit: usize,
    at: At,
) -> Result<Page, Refused> {
    loop {
        match range_once(members, start, end, limit, at).await {
            Err(Refused::Compacted) if at == At::Latest => {}
            answer => return answer,
        }
    }
}

async fn range_once(
    members: &Members,
    start: &[u8],
    end: &[u8],
    limit: usize,
    at: At,
) -> Result<Page, Refused> {
    let wanted = if limit == 0 { usize::MAX } else { limit };
    let mut page = FIRST_PAGE;
    let mut whole = Page { rev: 0, kvs: Vec::new(), more: true };
    let mut from = Bytes::copy_from_slice(start);
    let mut at = at;
    while whole.more && whole.kvs.len() < wanted {
        let count = page.min(wanted - whole.kvs.len());
        let options = GetOptions::new().with_range(end).with_limit(i64::try_from(count).unwrap_or(i64::MAX));
        let mut found = match ask(members, &from, options, at).await {
            Err(refused) if is_too_large(&refused) && count > 1 => {
                page = count / 2;
                continue;
            }
            answer => answer?,
        };
        whole.rev = read_rev(members, &found, at)?;
        at = At::Rev(whole.rev);
        whole.more = found.more();
        let kvs: Vec<Kv> = found.take_kvs().into_iter().map(kv).collect();
        page = next_page(&kvs);
        if let Some(last) = kvs.last() {
            from = [&last.key[..], &[0]].concat().into();
        }
        whole.kvs.extend(kvs);
    }
    Ok(whole)
}

/// How many keys make a page of the right size, judged by the last one.
fn next_page(kvs: &[Kv]) -> usize {
    let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    let average = (bytes / kvs.len().max(1)).max(1);
    (PAGE_BYTES / average).clamp(1, LARGEST_PAGE)
}

async fn ask(members: &Members, key: &[u8], options: GetOptions, at: At) -> Result<GetResponse, Refused> {
    let options = match at {
        At::Latest => options,
        At::Rev(rev) => options.with_revision(rev),
    };
    let asked = members.call(Repeat::Safe, |line| {
        let (key, options) = (key.to_vec(), options.clone());
        async move {
            let answer = line.kv().get(key, Some(options)).await?;
            line.told(answer.header());
            Ok(answer)
        }
    });
    asked.await
}

fn read_rev(members: &Members, found: &GetResponse, at: At) -> Result<Rev, Refused> {
    let odd = || Refused::Other(StoreError::Damaged("etcd answered without a header".into()));
    match at {
        At::Latest => {
            let rev = found.header().ok_or_else(odd)?.revision();
            members.past().tell(rev);
            Ok(rev)
        }
        At::Rev(rev) => Ok(rev),
    }
}
