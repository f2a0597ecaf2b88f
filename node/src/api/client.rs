//! Asking a node: over its socket if it runs, else in this process.

use std::{collections::VecDeque, io, path::PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Response,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinHandle};

use crate::{
    control::Control,
    events::{Event, Numbered, Subscription},
    failure::{Failure, Kind},
    home::Home,
    request::Request,
};

/// How long one event may be: far above the longest, so that only a broken
/// server meets it.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// A way to ask a node, the same wherever it is.
#[derive(Clone, Debug)]
pub enum Client {
    /// No node runs; the store is used in this process.
    Embedded(Control),
    /// A node runs and answers on its socket.
    Socket(SocketClient),
}

impl Client {
    /// The node that runs on `home`, or its store if none does.
    ///
    /// `store-locked` if a node holds the store and does not answer,
    /// `not-initialised` if nobody has set this home up.
    pub async fn connect(home: &Home) -> Result<Self, Failure> {
        match Self::running(home).await {
            Err(failure) if failure.kind == Kind::NotRunning => Control::open(home).await.map(Self::Embedded),
            other => other,
        }
    }

    /// The node that runs on `home`; `not-running` if none does.
    pub async fn running(home: &Home) -> Result<Self, Failure> {
        let client = SocketClient::new(home);
        client.stream().await?;
        Ok(Self::Socket(client))
    }

    /// Whether a node runs, so that the network can be used.
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    /// Asks one thing.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Answer, Failure> {
        match self {
            Self::Embedded(control) => request.run(control).await,
            Self::Socket(client) => client.call(&request).await,
        }
    }

    /// Watches what happens from now on, or from after the event `last`.
    ///
    /// Whatever happens after this has returned is in the stream.
    pub async fn events(&self, last: Option<&str>) -> Result<EventStream, Failure> {
        match self {
            Self::Embedded(control) => Ok(EventStream(Source::Embedded(match last {
                Some(last) => control.subscribe_after(last),
                None => control.subscribe(),
            }))),
            Self::Socket(client) => client.events(last).await,
        }
    }
}

/// A node at the other end of a socket.
#[derive(Clone, Debug)]
pub struct SocketClient {
    path: PathBuf,
}

impl SocketClient {
    /// A client of the node that runs on `home`; connects when it asks.
    pub fn new(home: &Home) -> Self {
        Self { path: home.socket() }
    }

    /// Asks one thing.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer, Failure> {
        let body = serde_json::to_vec(request).map_err(Failure::internal)?;
        let (response, driver) = self.send(Method::POST, R::PATH, None, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        driver.abort();
        let body = body.map_err(broken)?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::new(Kind::Incompatible, format!("The node's answer is strange: {error}."))
                    .hint("Restart the node with this version:  kinsync down, then kinsync up")
            });
        }
        Err(failure(status.as_u16(), &body))
    }

    /// Watches what happens.
    pub async fn events(&self, last: Option<&str>) -> Result<EventStream, Failure> {
        let (response, driver) = self.send(Method::GET, "/v1/events", last, Vec::new()).await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            return Err(failure(status, &body));
        }
        Ok(EventStream(Source::Socket(Box::new(Reader {
            body: response.into_body(),
            driver,
            buffer: Vec::new(),
            ready: VecDeque::new(),
        }))))
    }

    async fn stream(&self) -> Result<UnixStream, Failure> {
        UnixStream::connect(&self.path).await.map_err(|error| out_of_reach(&error))
    }

    /// Sends one request on a connection of its own, so that a long one is in
    /// nobody's way.
    async fn send(
        &self,
        method: Method,
        path: &str,
        last: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(Response<Incoming>, JoinHandle<()>), Failure> {
        let stream = self.stream().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the node ended");
            }
        });
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "kinsync")
            .header(CONTENT_TYPE, "application/json");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(Failure::internal)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, driver))
    }
}

/// Why nobody answers on the socket.
fn out_of_reach(error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, PermissionDenied};
    let kind = error.kind();
    // A node that stops resets whoever is still in its queue.
    if matches!(kind, NotFound | ConnectionRefused | ConnectionReset) {
        return Failure::not_running();
    }
    if kind == PermissionDenied {
        return Failure::new(Kind::Insecure, "The node here belongs to another user.")
            .hint("Run this as the user that started it, or use another --home.");
    }
    Failure::io("reach the node", error)
}

/// The node went away in the middle.
fn broken(error: hyper::Error) -> Failure {
    tracing::debug!(%error, "the node broke off");
    Failure::new(Kind::NotRunning, "The node stopped before it had answered.")
        .hint("See what happened:  kinsync log   then start it again:  kinsync up")
}

fn failure(status: u16, body: &[u8]) -> Failure {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        Failure::new(Kind::Incompatible, format!("The node answered with status {status}."))
            .hint("Restart the node with this version:  kinsync down, then kinsync up")
    })
}

/// What happens in a node, as it happens.
#[derive(Debug)]
pub struct EventStream(Source);

#[derive(Debug)]
enum Source {
    Embedded(Subscription),
    Socket(Box<Reader>),
}

impl EventStream {
    /// Waits for the next event; `None` once the node is gone.
    ///
    /// Cancel safe. Events that this build does not know are passed over.
    pub async fn next(&mut self) -> Option<Numbered> {
        loop {
            let numbered = match &mut self.0 {
                Source::Embedded(subscription) => subscription.next().await,
                Source::Socket(reader) => reader.next().await,
            }?;
            if numbered.event != Event::Unknown {
                return Some(numbered);
            }
        }
    }
}

#[derive(Debug)]
struct Reader {
    body: Incoming,
    driver: JoinHandle<()>,
    buffer: Vec<u8>,
    ready: VecDeque<Numbered>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Numbered> {
        loop {
            if let Some(numbered) = self.ready.pop_front() {
                return Some(numbered);
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                tracing::warn!("the node sent an event without an end");
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
                self.parse();
            }
        }
    }

    /// Takes the whole events out of the buffer; each ends with an empty line.
    fn parse(&mut self) {
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            self.ready.extend(parse_event(&String::from_utf8_lossy(&block)));
        }
    }
}

fn parse_event(block: &str) -> Option<Numbered> {
    let (mut id, mut data) = (String::new(), String::new());
    for line in block.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.push_str(value),
            "id" => value.clone_into(&mut id),
            _ => {}
        }
    }
    let event = (!data.is_empty()).then(|| serde_json::from_str(&data).ok()).flatten()?;
    Some(Numbered { id, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_gone_is_not_running() {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
        for kind in [NotFound, ConnectionRefused, ConnectionReset] {
            assert_eq!(out_of_reach(&kind.into()).kind, Kind::NotRunning);
        }
        assert_eq!(out_of_reach(&io::ErrorKind::PermissionDenied.into()).kind, Kind::Insecure);
        assert_eq!(out_of_reach(&io::ErrorKind::OutOfMemory.into()).kind, Kind::Io);
    }

    #[test]
    fn comments_and_unreadable_blocks_are_passed_over() {
        assert_eq!(parse_event(": keep-alive\n\n"), None);
        assert_eq!(parse_event(":\n\n"), None);
        assert_eq!(parse_event("id: a-1\nevent: put\ndata: {\n\n"), None);
        let event = parse_event("id: a-1\nevent: stopping\ndata: {\"event\":\"stopping\"}\n\n");
        assert_eq!(event, Some(Numbered { id: "a-1".to_owned(), event: Event::Stopping }));
    }
}
