//! Get and list. Both answer from the cache, at the store's newest revision unless the caller is content with less.
//! Later pages of a list are read from the store at the first page's revision, by any server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_failpoint::seeded_bug;
use berth_proto::v1 as wire;
use berth_store::{At, Rev, Store, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Entry};
use crate::refuse::{self, Answer, bad_field, not_found};
use crate::selection::Selection;
use crate::table::{KindId, Row, Table};
use crate::version::Version;

/// Keys read from the store at once for a later page.
const STRIDE: usize = 500;
/// Bytes after which a page ends early, so that a page fits a message.
const PAGE_BYTES: usize = 2 << 20;

/// What get and list need.
pub struct Reader<'a> {
    /// First pages and single objects.
    pub cache: &'a Cache,
    /// Later pages.
    pub store: &'a dyn Store,
    /// The kinds.
    pub table: &'a Table,
}

/// Where a list goes on: the history and the revision (0: the newest) of its first page, and the last key given out.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: u8,
    #[serde(default)]
    history: String,
    rev: Rev,
    last: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token is always JSON"))
    }

    fn decode(text: &str) -> Answer<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        token
            .filter(|token| token.v == 1 && token.rev >= 0)
            .ok_or_else(|| bad_field("continue_token", "is not one of this API; list again from the start"))
    }
}

/// A page as it fills.
#[derive(Default)]
struct Page {
    items: Vec<Bytes>,
    bytes: usize,
    last: String,
}

impl Page {
    fn push(&mut self, entry: &Entry) {
        let json = entry.served.json().clone();
        self.bytes += json.len();
        self.items.push(json);
        self.last = entry.path.to_string();
    }

    fn full(&self, limit: usize) -> bool {
        limit > 0 && (self.items.len() >= limit || self.bytes >= PAGE_BYTES)
    }

    fn answer(self, history: &str, rev: Rev, more: bool) -> wire::ListResponse {
        let token = Token { v: 1, history: history.into(), rev, last: self.last };
        wire::ListResponse {
            items: self.items,
            resource_version: Version::all_of(rev).to_string(),
            continue_token: if more { token.encode() } else { String::new() },
            history: history.into(),
        }
    }
}

impl Reader<'_> {
    /// One object as it is in the store now.
    pub async fn get(&self, request: wire::GetRequest) -> Answer<Bytes> {
        let key = request.key.unwrap_or_default();
        let kind = self.table.named(key.kind.as_ref())?;
        let row = self.table.row(kind);
        let namespace = if key.namespace.is_empty() { "default" } else { &key.namespace };
        self.cache.refresh().await?;
        let entry = self.cache.get(kind, &row.path(namespace, &key.name));
        entry.map(|entry| entry.served.json().clone()).ok_or_else(|| not_found(row.name(), &key.name))
    }

    /// Objects of a kind, or a page of them.
    pub async fn list(&self, request: wire::ListRequest) -> Answer<wire::ListResponse> {
        let kind = self.table.named(request.kind.as_ref())?;
        let row = self.table.row(kind);
        let selection =
            Selection::parse(row, &request.namespace, &request.label_selector, &request.field_selector)?;
        let limit = request.limit as usize;
        if request.continue_token.is_empty() {
            await_version(self.cache, &request.resource_version).await?;
            return Ok(self.page_of_cache(kind, &selection, limit, None));
        }
        let token = Token::decode(&request.continue_token)?;
        same_history(self.store, &token.history, token.rev)?;
        if token.rev == 0 {
            self.cache.refresh().await?;
            return Ok(self.page_of_cache(kind, &selection, limit, Some(&token.last)));
        }
        self.page_of_store(row, &selection, limit, token).await
    }

    fn page_of_cache(
        &self,
        kind: KindId,
        selection: &Selection,
        limit: usize,
        after: Option<&str>,
    ) -> wire::ListResponse {
        self.cache.look(|state| {
            let mut page = Page::default();
            let history = self.store.history();
            let objects: &mut dyn Iterator<Item = _> = match selection.hot_value(self.table.row(kind)) {
                Some(value) => &mut state.kind(kind).with_hot(value, after),
                None => &mut state.kind(kind).range(selection.namespace(), after),
            };
            let mut wanted = objects.filter(|entry| selection.takes(entry));
            while !page.full(limit) {
                let Some(entry) = wanted.next() else { return page.answer(history, state.rev(), false) };
                page.push(entry);
            }
            let more = wanted.next().is_some();
            page.answer(history, state.rev(), more)
        })
    }

    async fn page_of_store(
        &self,
        row: &Row,
        selection: &Selection,
        limit: usize,
        token: Token,
    ) -> Answer<wire::ListResponse> {
        let folder = match selection.namespace() {
            Some(namespace) => format!("{}{namespace}/", row.folder),
            None => row.folder.clone(),
        };
        let end = berth_store::prefix_end(folder.as_bytes());
        let mut start = [row.folder.as_bytes(), token.last.as_bytes(), &[0]].concat();
        let mut page = Page { last: token.last.clone(), ..Page::default() };
        let history = self.store.history();
        loop {
            let read = self.store.range(&start, &end, STRIDE, At::Rev(token.rev)).await;
            let read = read.map_err(|error| self.expired_or(&error, &page.last))?;
            let wanted =
                read.kvs.iter().filter_map(|kv| Entry::read(row, kv)).filter(|entry| selection.takes(entry));
            for entry in wanted {
                if page.full(limit) {
                    return Ok(page.answer(history, token.rev, true));
                }
                page.push(&entry);
            }
            let (Some(last), true) = (read.kvs.last(), read.more) else {
                return Ok(page.answer(history, token.rev, false));
            };
            start = [&last.key[..], &[0]].concat();
        }
    }

    /// A list whose revision is compacted can only go on at the newest one, which is no longer one snapshot.
    fn expired_or(&self, error: &StoreError, last: &str) -> Box<berth_types::Status> {
        let mut status = refuse::store(error);
        if matches!(error, StoreError::Compacted { .. }) {
            status.message =
                "the list took too long and its revision is compacted; list again, or go on with the \
                              token given here, which reads the newest state"
                    .into();
            status.metadata.continue_token =
                Token { v: 1, history: self.store.history().into(), rev: 0, last: last.into() }.encode();
        }
        status
    }
}

/// Refuses a position of another history than the store's: its numbers mean nothing here.
pub fn same_history(store: &dyn Store, told: &str, rev: Rev) -> Answer<()> {
    if told.is_empty() || store.includes(told, rev) {
        return Ok(());
    }
    Err(refuse::of_another_history(store.history(), told))
}

/// Waits for the version that a caller speaks of: the newest when it names none, any state for `0`.
pub async fn await_version(cache: &Cache, version: &str) -> Answer<()> {
    match version {
        "" if seeded_bug("list-of-a-lagging-cache") => Ok(()),
        "" => cache.refresh().await,
        "0" => Ok(()),
        text => cache.await_rev(parse_version(text)?.rev()).await,
    }
}

/// Reads a version that a caller speaks of.
pub fn parse_version(text: &str) -> Answer<Version> {
    Version::parse(text).ok_or_else(|| bad_field("resource_version", format!("is not a version: `{text}`")))
}
