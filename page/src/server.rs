//! The server of the page: loopback only, below a token that nobody can guess.
//!
//! A page of somebody else's in the same browser must neither read this one nor act through it. So the address has a
//! random token, `Host` must be this server's (a name that was bound to 127.0.0.1 meanwhile is not), and what acts must
//! come from this page (`Origin`).

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream};
use ledger::cause::in_words;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::actions::{Actions, Asked, Progress, Refusal};
use crate::assets::{self, MODULES, Mode, STYLE};
use crate::film::{Film, Shown};
use crate::metrics;

/// The largest body of a request, in bytes.
const BODY_MAX: usize = 4 * 1024;

/// What is shown.
#[derive(Debug, Clone)]
pub enum Show {
    /// A running lab, and what can be done to it.
    Live(Film, Actions),
    /// A recording.
    Replay(Arc<str>),
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    token: String,
    port: u16,
}

#[derive(Clone)]
struct Shared {
    show: Show,
    token: Arc<str>,
    port: u16,
    /// Whether the server goes on; its sender is gone when it ends.
    open: watch::Receiver<()>,
}

impl Server {
    /// Listens on a port of 127.0.0.1; 0 is any free one.
    ///
    /// # Errors
    /// The port is taken or may not be used.
    pub async fn listen(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(|error| {
            anyhow!("cannot listen on {address}: {}; give --port another number, or leave it out", in_words(error))
        })?;
        let port = listener.local_addr().context("cannot listen")?.port();
        Ok(Server { listener, token: random()?, port })
    }

    /// The address of the page.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.token)
    }

    /// Serves until `stop` resolves.
    ///
    /// # Errors
    /// The server cannot go on.
    pub async fn serve(self, show: Show, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let (close, open) = watch::channel(());
        let shared = Shared { show, token: self.token.into(), port: self.port, open };
        let page = Router::new()
            .route("/{token}/", get(index))
            .route("/{token}/{file}", get(file))
            .route("/{token}/events", get(events))
            .route("/{token}/recording", get(recording))
            .route("/{token}/metrics", get(prometheus))
            .route("/{token}/action", post(action))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(middleware::from_fn_with_state(shared.clone(), guard))
            .with_state(shared);
        let stop = async move {
            stop.await;
            // Ends the streams, for which the server would wait otherwise.
            drop(close);
        };
        axum::serve(self.listener, page).with_graceful_shutdown(stop).await.context("the server failed")
    }
}

/// Returns 128 random bits as hexadecimal digits.
fn random() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom, which the page's address needs")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets through only what comes from this page, and protects what is answered.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if let Some((status, why)) = refusal(&shared, &request) {
        return (status, why).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns why a request is not answered.
fn refusal(shared: &Shared, request: &Request) -> Option<(StatusCode, &'static str)> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let own = [format!("127.0.0.1:{}", shared.port), format!("localhost:{}", shared.port)];
    let Some(host) = text(header::HOST).filter(|host| own.iter().any(|own| own == host)) else {
        return Some((StatusCode::FORBIDDEN, "this server has another name\n"));
    };
    if request.uri().path().split('/').nth(1) != Some(&*shared.token) {
        return Some((StatusCode::NOT_FOUND, "there is nothing here; the whole address was printed\n"));
    }
    // Browsers send it with whatever acts, and from other pages always.
    let ours = format!("http://{host}");
    match text(header::ORIGIN) {
        Some(origin) if origin == ours => None,
        None if request.method().is_safe() => None,
        _ => Some((StatusCode::FORBIDDEN, "this comes from another page\n")),
    }
}

async fn index(State(shared): State<Shared>) -> Response {
    let Ok(nonce) = random() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mode = match shared.show {
        Show::Live(..) => Mode::Live,
        Show::Replay(_) => Mode::Replay,
    };
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, &policy)];
    (headers, assets::served(mode, &nonce)).into_response()
}

async fn file(Path((_, file)): Path<(String, String)>) -> Response {
    let typed = |kind: &'static str, text: &'static str| {
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, "gzip")];
        (headers, assets::packed(text.as_bytes())).into_response()
    };
    if file == "style.css" {
        return typed("text/css; charset=utf-8", STYLE);
    }
    match MODULES.iter().find(|module| module.file == file) {
        Some(module) => typed("text/javascript; charset=utf-8", module.text),
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    }
}

async fn recording(State(shared): State<Shared>) -> Response {
    match shared.show {
        Show::Replay(text) => {
            ([(header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8")], text.to_string()).into_response()
        }
        Show::Live(..) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn prometheus(State(shared): State<Shared>) -> Response {
    match shared.show {
        Show::Live(film, _) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&film.now()))
                .into_response()
        }
        Show::Replay(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn action(State(shared): State<Shared>, body: Bytes) -> Response {
    let Show::Live(_, actions) = shared.show else { return StatusCode::NOT_FOUND.into_response() };
    let refuse = |status: StatusCode, error: String| {
        (status, [(header::CONTENT_TYPE, "application/json")], json!({"error": error}).to_string()).into_response()
    };
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the request is not understood: {error}")),
    };
    match actions.begin(&asked) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(Refusal::Unknown) => refuse(StatusCode::NOT_FOUND, "there is no such action".into()),
        Err(Refusal::Busy(other)) => {
            refuse(StatusCode::CONFLICT, format!("`{other}` is running; one command runs at a time"))
        }
        Err(Refusal::Failed(why)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

/// What a stream has to send next.
struct Streamed {
    film: Film,
    lines: watch::Receiver<u64>,
    progress: watch::Receiver<Option<Progress>>,
    /// What was sent of it last.
    acted: Option<Progress>,
    open: watch::Receiver<()>,
    /// The number of the next line; `None` if all are sent anew.
    next: Option<u64>,
    /// Whether everything that was kept has been sent.
    caught_up: bool,
}

async fn events(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Show::Live(film, actions) = shared.show else { return StatusCode::NOT_FOUND.into_response() };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let hello = Event::default().event("hello").data(json!({"actions": actions.all()}).to_string());
    let streamed = Streamed {
        lines: film.watch(),
        progress: actions.watch(),
        acted: None,
        open: shared.open,
        next: last.map(|last| last.saturating_add(1)),
        caught_up: false,
        film,
    };
    let first = stream::once(async move { Ok::<_, Infallible>(hello) });
    let stream = futures_util::StreamExt::chain(first, follow(streamed));
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// Sends lines as they come, in portions.
fn follow(streamed: Streamed) -> impl Stream<Item = Result<Event, Infallible>> {
    let portions = stream::unfold(streamed, |mut to| async move {
        loop {
            let sent = to.portion();
            if !sent.is_empty() {
                return Some((stream::iter(sent.into_iter().map(Ok)), to));
            }
            tokio::select! {
                more = to.lines.changed() => more.ok()?,
                more = to.progress.changed() => more.ok()?,
                // Its sender is gone.
                _ = to.open.changed() => return None,
            }
        }
    });
    futures_util::StreamExt::flatten(portions)
}

impl Streamed {
    /// Returns what has not been sent yet.
    fn portion(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let progress = self.progress.borrow_and_update().clone();
        if progress != self.acted {
            events.extend(progress.as_ref().and_then(|one| Some(Event::default().event("action").data(json(one)?))));
            self.acted = progress;
        }
        // Before it is looked at, so that a line that comes meanwhile counts as a change.
        self.lines.borrow_and_update();
        let lines = match self.film.since(self.next) {
            Shown::More(lines) => lines,
            Shown::Anew(lines) => {
                // An empty id: the lines that follow may have none, and must not seem to have the last one.
                events.push(Event::default().event("reset").id("").data("{}"));
                lines
            }
        };
        for (number, text) in lines {
            let event = Event::default().data(&*text);
            events.push(match number {
                Some(number) => {
                    self.next = Some(number + 1);
                    event.id(number.to_string())
                }
                None => event,
            });
        }
        if !self.caught_up {
            self.caught_up = true;
            let now = json!({"now_ms": self.film.now_ms()});
            events.push(Event::default().event("caught_up").data(now.to_string()));
        }
        events
    }
}

fn json(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}
