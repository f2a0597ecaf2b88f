//! The local API: HTTP over a Unix socket, a route per request type.
//!
//! The socket is the only door. It lies in a directory that only its owner
//! may enter, is itself private, and the user id of whoever connects is
//! checked once more; there is no TCP port, so no web page can reach it.

pub mod client;
mod events;
pub mod socket;
#[cfg(all(test, unix))]
mod tests;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};

pub use client::{Client, EventStream};
pub use socket::Server;

use crate::{
    control::Control,
    failure::{Failure, Kind},
    request::{
        AppState, Append, Changes, Choose, ConfigGet, ConfigSet, ConflictClaim, ConflictResolve,
        ConflictShow, ConflictTake, Conflicts, Del, Doctor, DomainAccept, DomainAdd, DomainReject,
        DomainRemove, DomainShow, Domains, Down, DraftGet, Drafts, Get, HeldAccept, HeldList, HeldReject,
        HeldShow, History, HoldCommit, HoldDrop, HoldExtend, HoldOpen, HoldSave, List, LogTail, PairAnswer,
        PairCancel, PairJoin, PairOpen, PeerAddAddr, PeerAllow, PeerForget, PeerRename, PeerShow, Peers, Put,
        PutMany, ReadinessGet, Request, Restore, Revoke, Status, SyncNow, Trash, TrashEmpty, TrashRestore,
        Undo, Verify, Version,
    },
};

/// How long a request may be: the longest is a [`PutMany`] full to
/// [`crate::request::PUT_MANY_BYTES_MAX`], up to six times as long when JSON
/// has to escape every byte of it.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The media type of a failure.
const PROBLEM: &str = "application/problem+json";

/// The routes of the local API over a node.
pub fn router(control: Control) -> Router {
    let router = Router::new()
        .route("/v1/events", get(events::stream))
        .route(AppState::PATH, put(answer::<AppState>))
        .route(Version::PATH, get(async |State(control): State<Control>| Json(control.version())));
    let router = route::<AppState>(router);
    let router = route::<Append>(router);
    let router = route::<Changes>(router);
    let router = route::<Choose>(router);
    let router = route::<ConfigGet>(router);
    let router = route::<ConfigSet>(router);
    let router = route::<ConflictClaim>(router);
    let router = route::<ConflictResolve>(router);
    let router = route::<ConflictShow>(router);
    let router = route::<ConflictTake>(router);
    let router = route::<Conflicts>(router);
    let router = route::<Del>(router);
    let router = route::<Doctor>(router);
    let router = route::<DomainAccept>(router);
    let router = route::<DomainAdd>(router);
    let router = route::<DomainReject>(router);
    let router = route::<DomainRemove>(router);
    let router = route::<DomainShow>(router);
    let router = route::<Domains>(router);
    let router = route::<Down>(router);
    let router = route::<DraftGet>(router);
    let router = route::<Drafts>(router);
    let router = route::<Get>(router);
    let router = route::<History>(router);
    let router = route::<HeldAccept>(router);
    let router = route::<HeldList>(router);
    let router = route::<HeldReject>(router);
    let router = route::<HeldShow>(router);
    let router = route::<HoldCommit>(router);
    let router = route::<HoldDrop>(router);
    let router = route::<HoldExtend>(router);
    let router = route::<HoldOpen>(router);
    let router = route::<HoldSave>(router);
    let router = route::<List>(router);
    let router = route::<LogTail>(router);
    let router = route::<PairAnswer>(router);
    let router = route::<PairCancel>(router);
    let router = route::<PairJoin>(router);
    let router = route::<PairOpen>(router);
    let router = route::<PeerAddAddr>(router);
    let router = route::<PeerAllow>(router);
    let router = route::<PeerForget>(router);
    let router = route::<PeerRename>(router);
    let router = route::<PeerShow>(router);
    let router = route::<Peers>(router);
    let router = route::<Put>(router);
    let router = route::<PutMany>(router);
    let router = route::<ReadinessGet>(router);
    let router = route::<Restore>(router);
    let router = route::<Revoke>(router);
    let router = route::<Status>(router);
    let router = route::<SyncNow>(router);
    let router = route::<Trash>(router);
    let router = route::<TrashEmpty>(router);
    let router = route::<TrashRestore>(router);
    let router = route::<Undo>(router);
    let router = route::<Verify>(router);
    let router = route::<Version>(router);
    router
        .fallback(async || Failure::new(Kind::BadRequest, "There is no such path.").into_response())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// Adds the route of one request type.
fn route<R: Request>(router: Router<Control>) -> Router<Control> {
    router.route(R::PATH, post(answer::<R>))
}

async fn answer<R: Request>(
    State(control): State<Control>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<R::Answer>, Failure> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::new(Kind::ValueTooLarge, format!("A request has at most {BODY_BYTES_MAX} bytes."))
        }
        _ => Failure::new(Kind::BadRequest, format!("The request broke off: {rejection}.")),
    })?;
    // An empty body asks with all defaults, which is kind to `curl`.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let request: R = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Kind::BadRequest, format!("The request cannot be read: {error}.")))?;
    request.run(&control).await.map(Json)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, PROBLEM)];
        (status, headers, Json(self)).into_response()
    }
}
