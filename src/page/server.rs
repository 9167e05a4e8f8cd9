//! The server of the page, on loopback alone. Every request goes through the gate, and every answer says what a browser may do
//! with it.

#![allow(clippy::unused_async, reason = "the handlers of a route are asynchronous, whether or not one waits")]

use super::{
    Error, Serving, Settings,
    act::{self, Verb, Wanted},
    assets, detail, environments,
    gate::Gate,
    layout,
    parts::{Links, View, empty},
    pipeline, trends,
    watch::Watched,
};
use crate::{
    check::Interrupt,
    values::{EnvironmentName, Oid},
};
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{
        Html, IntoResponse, Redirect, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::stream::{self, Stream};
use maud::{Markup, html};
use serde::Deserialize;
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{net::TcpListener, sync::broadcast::error::RecvError};

/// How often it is looked for a signal, and whether anybody looks at the page.
const TICK: Duration = Duration::from_millis(100);
/// A form has a few words.
const MAX_FORM: usize = 16 << 10;
/// The most rows that one page may ask for.
const MOST_ROWS: usize = 1000;

#[derive(Clone)]
struct App {
    watched: Arc<Watched>,
    gate: Gate,
    links: Links,
    policy: HeaderValue,
}

/// Serves the page until a signal comes, or until nobody has looked for long enough. `ready` gets the address.
///
/// # Errors
/// When the port cannot be had, or the system gives no randomness or no thread.
pub fn serve(
    settings: Settings,
    serving: &Serving,
    interrupt: &Interrupt,
    ready: impl FnOnce(&str),
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Server)?;
    runtime.block_on(async {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, serving.port));
        let refused = |source| Error::Listen { port: serving.port, source };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let gate = Gate::new(listener.local_addr().map_err(refused)?)?;
        let links = Links::Served(gate.root());
        let watched = Watched::new(settings, links.clone());
        watched.start().map_err(Error::Server)?;
        let policy =
            HeaderValue::from_str(&assets::served()).map_err(|error| Error::Server(std::io::Error::other(error)))?;
        let app = App { watched: Arc::clone(&watched), gate: gate.clone(), links, policy };
        ready(&gate.address());
        tokio::select! {
            ended = async { axum::serve(listener, router(app)).await } => ended.map_err(Error::Server),
            () = until_done(&watched, serving.idle, interrupt) => Ok(()),
        }
    })
}

async fn until_done(watched: &Watched, idle: Duration, interrupt: &Interrupt) {
    while interrupt.signal().is_none() && watched.quiet() < idle {
        tokio::time::sleep(TICK).await;
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/{token}/", get(home))
        .route("/{token}/environments", get(places))
        .route("/{token}/trends", get(numbers))
        .route("/{token}/commit/{id}", get(commit))
        .route("/{token}/environment/{name}/{verb}", get(confirm))
        .route("/{token}/act", post(do_it))
        .route("/{token}/act/{id}", get(done))
        .route("/{token}/events", get(events))
        .fallback(missing)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// The gate, and what every answer says.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let verdict = app.gate.judge(request.method(), request.uri().path(), request.headers());
    let mut response = match verdict {
        Ok(()) => {
            app.watched.look();
            next.run(request).await
        }
        Err((status, why)) => (status, why).into_response(),
    };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, app.policy),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (header::HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (Some(name), value)));
    response
}

/// Which part of a view is asked for.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    from: usize,
    count: Option<usize>,
    /// Only the content, for the sheet: anything.
    part: Option<String>,
}

impl App {
    fn page(&self, view: Option<View>, title: &str, main: &Markup) -> Response {
        Html(layout::page(&self.watched.facts(), &self.links, view, title, main).into_string()).into_response()
    }

    /// The whole page, or what the sheet shows of it.
    fn part(&self, asked: &Asked, title: &str, main: &Markup) -> Response {
        match asked.part {
            Some(_) => Html(main.clone().into_string()).into_response(),
            None => self.page(None, title, main),
        }
    }
}

async fn home(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    let count = asked.count.unwrap_or(pipeline::ROWS).clamp(1, MOST_ROWS);
    app.page(Some(View::Pipeline), "Pipeline", &pipeline::view(&app.watched.facts(), &app.links, asked.from, count))
}

async fn places(State(app): State<App>) -> Response {
    app.page(Some(View::Environments), "Environments", &environments::view(&app.watched.facts(), &app.links))
}

async fn numbers(State(app): State<App>) -> Response {
    app.page(Some(View::Trends), "Trends", &trends::view(&app.watched.facts(), &app.links))
}

async fn commit(State(app): State<App>, Path((_, id)): Path<(String, String)>, Query(asked): Query<Asked>) -> Response {
    let facts = app.watched.facts();
    let known = id.parse::<Oid>().ok().and_then(|id| facts.near.commits.iter().find(|commit| commit.id == id).cloned());
    let Some(known) = known else {
        let text = "It is not among the commits of the environments' branches that this clone knows.";
        return (
            StatusCode::NOT_FOUND,
            app.part(&asked, "No such commit", &empty("No such commit", text, Some("git fetch"))),
        )
            .into_response();
    };
    let settings = app.watched.settings.clone();
    let (reading, subject) = (facts.clone(), known.clone());
    // It reads files and calls git.
    let read = tokio::task::spawn_blocking(move || detail::ask(&settings, &reading, &subject)).await;
    let asked_of = read.unwrap_or_default();
    app.part(&asked, &known.subject, &detail::view(&facts, &app.links, &known, &asked_of))
}

async fn confirm(
    State(app): State<App>,
    Path((_, name, verb)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let facts = app.watched.facts();
    let name = name.parse::<EnvironmentName>().ok().filter(|name| facts.environments().contains(name));
    let (Some(name), Some(verb)) = (name, Verb::parse(&verb)) else { return missing().await };
    app.part(&asked, "Confirm", &act::confirm(&facts, &app.links, verb, &name, app.watched.settings.context.as_deref()))
}

/// What the sheet or a browser without script gets after a button.
#[derive(Debug, Default, Deserialize)]
struct How {
    part: Option<String>,
}

async fn do_it(State(app): State<App>, Query(how): Query<How>, Form(wanted): Form<Wanted>) -> Response {
    match app.watched.act(&wanted) {
        Ok(id) if how.part.is_some() => {
            let facts = app.watched.facts();
            let shown = facts.acts.iter().find(|act| act.id == id).map(act::told);
            Html(shown.unwrap_or_default().into_string()).into_response()
        }
        Ok(_) => Redirect::to(&app.links.view(View::Environments)).into_response(),
        Err(why) => {
            let shown = html! { section class="notice bad" role="alert" { h2 { "Nothing was run" } p { (why) } } };
            let asked = Asked { part: how.part, ..Asked::default() };
            (StatusCode::CONFLICT, app.part(&asked, "Nothing was run", &shown)).into_response()
        }
    }
}

async fn done(State(app): State<App>, Path((_, id)): Path<(String, usize)>) -> Response {
    let facts = app.watched.facts();
    match facts.acts.iter().find(|act| act.id == id) {
        Some(act) => Html(act::told(act).into_string()).into_response(),
        None => missing().await,
    }
}

async fn missing() -> Response {
    (StatusCode::NOT_FOUND, "There is nothing here.").into_response()
}

/// Which page listens.
#[derive(Debug, Deserialize)]
struct Since {
    generation: u64,
}

async fn events(
    State(app): State<App>,
    Query(since): Query<Since>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (patches, now) = app.watched.listen();
    let listening = Listening::of(Arc::clone(&app.watched));
    let first = if since.generation == now { "current" } else { "stale" };
    // A browser passes over an event without data.
    let hello = stream::iter([Ok(Event::default().event(first).data(first))]);
    let rest = stream::unfold((patches, listening), |(mut patches, listening)| async move {
        let event = match patches.recv().await {
            Ok(patch) => Event::default().event("patch").data(serde_json::to_string(&*patch).unwrap_or_default()),
            Err(RecvError::Lagged(_)) => Event::default().event("stale").data("stale"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (patches, listening)))
    });
    Sse::new(stream::StreamExt::chain(hello, rest)).keep_alive(KeepAlive::default())
}

/// Counts a browser for as long as it listens.
struct Listening(Arc<Watched>);

impl Listening {
    fn of(watched: Arc<Watched>) -> Self {
        watched.listeners.fetch_add(1, Ordering::Relaxed);
        Self(watched)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}
