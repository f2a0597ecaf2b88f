//! The events of a node as a stream of server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::stream;

use crate::{
    control::Control,
    events::{Event, Subscription},
};

/// How often a comment is sent when nothing happens, so that both ends notice
/// when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /v1/events`, from now on or from after `Last-Event-ID`.
pub(super) async fn stream(State(control): State<Control>, headers: HeaderMap) -> impl IntoResponse {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let subscription = match last {
        Some(last) => control.subscribe_after(last),
        None => control.subscribe(),
    };
    // Only the subscription stays: holding the control would keep the store
    // open for as long as somebody watches.
    drop(control);
    Sse::new(stream::unfold(Some(subscription), next)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

async fn next(
    subscription: Option<Subscription>,
) -> Option<(Result<sse::Event, Infallible>, Option<Subscription>)> {
    let mut subscription = subscription?;
    let numbered = subscription.next().await?;
    let event = sse::Event::default().id(&numbered.id).event(numbered.event.name());
    let event = match serde_json::to_string(&numbered.event) {
        Ok(data) => event.data(data),
        Err(error) => {
            tracing::error!(%error, name = numbered.event.name(), "an event has no JSON form");
            event
        }
    };
    let stopping = numbered.event == Event::Stopping;
    Some((Ok(event), (!stopping).then_some(subscription)))
}
