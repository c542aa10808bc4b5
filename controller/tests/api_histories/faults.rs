//! A client whose API server fails, by a seed: a layer between the client and the real one.
//!
//! | request | what may happen to it |
//! |---|---|
//! | write | refused with 500, 429 or 409; done, and the answer lost; sent late; answered late |
//! | read | refused with 500; answered late |
//! | watch | ends, breaks off, or is told that its version is too old |

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use serde_json::json;
use tokio::time::{Instant, Sleep};
use tower::{BoxError, Layer, Service};

/// What happens to the requests of one client; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    seed: u64,
    asked: AtomicU64,
    stormy: AtomicBool,
    happened: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Refused(StatusCode),
    Lost,
    SentLate(Duration),
    AnsweredLate(Duration),
    Cut(Duration, End),
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Broken,
    Expired,
}

impl Faults {
    /// Faults by this seed; none until [`Faults::storm`].
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            seed,
            ..Shared::default()
        }))
    }

    /// From now on requests fail.
    pub(crate) fn storm(&self) {
        self.0.stormy.store(true, Ordering::Relaxed);
    }

    /// From now on everything works, watches that were to be cut too.
    pub(crate) fn calm(&self) {
        self.0.stormy.store(false, Ordering::Relaxed);
    }

    /// How many faults there have been.
    pub(crate) fn happened(&self) -> u64 {
        self.0.happened.load(Ordering::Relaxed)
    }

    fn stormy(&self) -> bool {
        self.0.stormy.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.0.happened.fetch_add(1, Ordering::Relaxed);
    }

    fn roll(&self) -> u64 {
        let n = self.0.asked.fetch_add(1, Ordering::Relaxed);
        // SplitMix64: neighbouring numbers give unlike ones.
        let mut mixed = (self.0.seed.wrapping_add(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// What happens to the next request.
    fn of<B>(&self, request: &Request<B>) -> Fault {
        let dice = self.roll();
        let (percent, more) = (dice % 100, dice >> 8);
        let late = Duration::from_millis(more % 80);
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=true") {
            let end = match more % 3 {
                0 => End::Closed,
                1 => End::Broken,
                _ => End::Expired,
            };
            return Fault::Cut(Duration::from_millis(20 + more % 500), end);
        }
        if !self.stormy() {
            return Fault::None;
        }
        let refused = Fault::Refused;
        let fault = match (request.method() == Method::GET, percent) {
            (true, 0..3) => refused(StatusCode::INTERNAL_SERVER_ERROR),
            (true, 3..15) => Fault::AnsweredLate(late),
            (true, _) => Fault::None,
            (false, 0..6) => refused(StatusCode::INTERNAL_SERVER_ERROR),
            (false, 6..11) => refused(StatusCode::TOO_MANY_REQUESTS),
            (false, 11..25) => refused(StatusCode::CONFLICT),
            (false, 25..35) => Fault::Lost,
            (false, 35..50) => Fault::SentLate(late),
            (false, 50..65) => Fault::AnsweredLate(late),
            (false, _) => Fault::None,
        };
        if !matches!(fault, Fault::None) {
            self.count();
        }
        fault
    }
}

impl<S> Layer<S> for Faults {
    type Service = Failing<S>;

    fn layer(&self, inner: S) -> Failing<S> {
        let faults = self.clone();
        Failing { inner, faults }
    }
}

/// The client's way to the API server.
pub(crate) struct Failing<S> {
    inner: S,
    faults: Faults,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<Answer<B>>, BoxError>> + Send>>;

impl<S, A, B> Service<Request<A>> for Failing<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = BoxError;
    type Future = Answering<B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Answering<B> {
        let fault = self.faults.of(&request);
        if let Fault::Refused(code) = fault {
            return Box::pin(std::future::ready(Ok(refusal(code))));
        }
        let faults = self.faults.clone();
        // Nothing is sent before this is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if let Fault::SentLate(by) = fault {
                tokio::time::sleep(by).await;
            }
            let answer = answer.await?;
            match fault {
                // The API server has done what it was asked for.
                Fault::Lost => return Err("the connection was reset".into()),
                Fault::AnsweredLate(by) => tokio::time::sleep(by).await,
                _ => {}
            }
            let cut = match fault {
                Fault::Cut(every, end) => Some(Cut {
                    sleep: Box::pin(tokio::time::sleep(every)),
                    every,
                    end,
                }),
                _ => None,
            };
            Ok(answer.map(|body| Answer {
                source: Source::Theirs(Box::pin(body)),
                cut,
                faults,
            }))
        })
    }
}

fn status(code: StatusCode) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "a fault of the test", "reason": "Fault", "code": code.as_u16(),
    })
}

fn refusal<B>(code: StatusCode) -> Response<Answer<B>> {
    let mut response = Response::new(Answer {
        source: Source::Ours(Some(status(code).to_string().into())),
        cut: None,
        faults: Faults::default(),
    });
    *response.status_mut() = code;
    response
}

/// The body of an answer.
pub(crate) struct Answer<B> {
    source: Source<B>,
    cut: Option<Cut>,
    faults: Faults,
}

/// When a watch is cut, and how; in calm it lives until the next time.
struct Cut {
    sleep: Pin<Box<Sleep>>,
    every: Duration,
    end: End,
}

enum Source<B> {
    Ours(Option<Bytes>),
    Theirs(Pin<Box<B>>),
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let stormy = self.faults.stormy();
        let mut ended = None;
        while let Some(cut) = &mut self.cut
            && cut.sleep.as_mut().poll(context).is_ready()
        {
            if stormy {
                ended = Some(cut.end);
                self.cut = None;
            } else {
                cut.sleep.as_mut().reset(Instant::now() + cut.every);
            }
        }
        if let Some(end) = ended {
            self.faults.count();
            let expired = json!({"type": "ERROR", "object": status(StatusCode::GONE)});
            let last = matches!(end, End::Expired).then(|| format!("{expired}\n").into());
            self.source = Source::Ours(last);
            if matches!(end, End::Broken) {
                return Poll::Ready(Some(Err("the connection was reset".into())));
            }
        }
        match &mut self.source {
            Source::Ours(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Theirs(body) => {
                let frame = ready!(body.as_mut().poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }
}
