//! Who may read the metrics: asked of the API server, as its own components do.
//!
//! A request brings a bearer token. A TokenReview says whose it is, a SubjectAccessReview whether that
//! one may `get` the path. Answers are remembered for a while; questions are bounded in number and
//! time, so that strangers do not make this process a load on the API server.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::cache::{Cache, Decision};
use crate::call::{Failure, within};

/// How long the API server may take for each of the two questions.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many requests are asked about at a time; more are sent away.
const ASKING: usize = 4;
/// Longer ones are no tokens.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The door to one path.
pub(super) struct Access {
    client: Client,
    path: &'static str,
    cache: Mutex<Cache>,
    asking: Semaphore,
}

impl Access {
    /// The door to `path`.
    pub(super) fn new(client: Client, path: &'static str) -> Self {
        Self {
            client,
            path,
            cache: Mutex::default(),
            asking: Semaphore::new(ASKING),
        }
    }

    /// `Ok` for one who may come in, otherwise what to answer.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let token = bearer(headers).ok_or(StatusCode::UNAUTHORIZED)?;
        let known = self.cache.lock().get(token, Instant::now());
        let decision = match known {
            Some(decision) => decision,
            None => {
                let Ok(_permit) = self.asking.try_acquire() else {
                    return Err(StatusCode::TOO_MANY_REQUESTS);
                };
                match self.ask(token).await {
                    Ok(decision) => {
                        self.cache.lock().put(token, decision, Instant::now());
                        decision
                    }
                    Err(_) if self.cache.lock().was_allowed(token, Instant::now()) => {
                        Decision::Allowed
                    }
                    Err(error) => {
                        tracing::warn!(%error, path = self.path, "the API server was not asked who reads");
                        return Err(StatusCode::SERVICE_UNAVAILABLE);
                    }
                }
            }
        };
        match decision {
            Decision::Allowed => Ok(()),
            Decision::Unknown => Err(StatusCode::UNAUTHORIZED),
            Decision::Forbidden => Err(StatusCode::FORBIDDEN),
        }
    }

    async fn ask(&self, token: &str) -> Result<Decision, Failure> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let review = within(PATIENCE, reviews.create(&params, &review)).await?;
        let status = review.status.unwrap_or_default();
        let (Some(true), Some(user)) = (status.authenticated, status.user) else {
            return Ok(Decision::Unknown);
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = may_get(user, self.path);
        let review = within(PATIENCE, reviews.create(&params, &review)).await?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        Ok(if allowed {
            Decision::Allowed
        } else {
            Decision::Forbidden
        })
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let plausible = !token.is_empty() && token.len() <= LONGEST_TOKEN;
    (scheme.eq_ignore_ascii_case("bearer") && plausible).then_some(token)
}

fn may_get(user: UserInfo, path: &str) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
            resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{HeaderValue, Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows two tokens, `prometheus` and `nosy`, and lets the first one read.
    fn api_server(asked: Arc<AtomicUsize>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            asked.fetch_add(1, Ordering::Relaxed);
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                let question: Value = serde_json::from_slice(&body).unwrap();
                let spec = &question["spec"];
                let status = match question["kind"].as_str().unwrap() {
                    "TokenReview" => {
                        let token = spec["token"].as_str().unwrap();
                        let known = ["prometheus", "nosy"].contains(&token);
                        json!({"authenticated": known, "user": {"username": token}})
                    }
                    _ => {
                        assert_eq!(
                            spec["nonResourceAttributes"],
                            json!({"path": "/metrics", "verb": "get"})
                        );
                        json!({"allowed": spec["user"] == "prometheus"})
                    }
                };
                let mut answer = question.clone();
                answer["status"] = status;
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        Client::new(service, "default")
    }

    fn with(authorization: &str) -> HeaderMap {
        let value = HeaderValue::from_str(authorization).unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[tokio::test]
    async fn only_a_known_token_that_is_permitted_comes_in() {
        let access = Access::new(api_server(Arc::default()), "/metrics");
        let answers = [
            ("Bearer prometheus", Ok(())),
            ("bearer prometheus", Ok(())),
            ("Bearer nosy", Err(StatusCode::FORBIDDEN)),
            ("Bearer made-up", Err(StatusCode::UNAUTHORIZED)),
            ("Basic prometheus", Err(StatusCode::UNAUTHORIZED)),
            ("Bearer ", Err(StatusCode::UNAUTHORIZED)),
        ];
        for (authorization, answer) in answers {
            assert_eq!(
                access.check(&with(authorization)).await,
                answer,
                "{authorization}"
            );
        }
        let none = access.check(&HeaderMap::new()).await;
        assert_eq!(none, Err(StatusCode::UNAUTHORIZED));
    }

    #[tokio::test]
    async fn the_api_server_is_asked_once_for_many_requests() {
        let asked = Arc::new(AtomicUsize::new(0));
        let access = Access::new(api_server(Arc::clone(&asked)), "/metrics");
        for _ in 0..100 {
            access.check(&with("Bearer prometheus")).await.unwrap();
            access.check(&with("Bearer made-up")).await.unwrap_err();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_made_up_tokens_does_not_flood_the_api_server() {
        let silent = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let access = Arc::new(Access::new(Client::new(silent, "default"), "/metrics"));
        let tokens = (0..100).map(|at| with(&format!("Bearer {at}")));
        let checks = tokens.map(|headers| {
            let access = Arc::clone(&access);
            async move { access.check(&headers).await.unwrap_err() }
        });
        let answers = futures::future::join_all(checks).await;
        let count = |code| answers.iter().filter(|answer| **answer == code).count();
        assert_eq!(count(StatusCode::SERVICE_UNAVAILABLE), ASKING);
        assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 100 - ASKING);
    }
}
