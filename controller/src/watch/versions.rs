//! Kinds that earlier releases of the Gateway API serve in another version alone: the newer one is watched where it is
//! served, the earlier one where it is not.

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::{all, config, says};

type News<K> = Result<Event<DeserializeGuard<K>>, watcher::Error>;

/// Follows a kind by its own version, or where that is not served by the earlier one.
pub(super) fn watched<K, E>(client: &Client) -> impl Stream<Item = News<K>> + Send + use<K, E>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    E: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    E: Into<K>,
{
    let own = watcher::watcher(all::<DeserializeGuard<K>>(client), config());
    let earlier = watcher::watcher(all::<DeserializeGuard<E>>(client), config());
    first_served(own, earlier.map_ok(|event| as_newer::<K, E>(event)))
}

/// Follows one, and the other while the API server does not know the first. That it knows neither is said, and then both are
/// asked again.
fn first_served<K>(
    own: impl Stream<Item = News<K>> + Send,
    earlier: impl Stream<Item = News<K>> + Send,
) -> impl Stream<Item = News<K>> + Send
where
    K: Send,
{
    let begin = (Box::pin(own), Box::pin(earlier), false);
    stream::unfold(begin, |(mut own, mut earlier, mut is_earlier)| async move {
        loop {
            let news = if is_earlier {
                earlier.next().await?
            } else {
                own.next().await?
            };
            if news.as_ref().is_err_and(|error| says(error, 404)) {
                is_earlier = !is_earlier;
                if is_earlier {
                    continue;
                }
            }
            return Some((news, (own, earlier, is_earlier)));
        }
    })
}

fn as_newer<K, E: Into<K>>(event: Event<DeserializeGuard<E>>) -> Event<DeserializeGuard<K>> {
    let newer = |object: DeserializeGuard<E>| DeserializeGuard(object.0.map(Into::into));
    match event {
        Event::Apply(object) => Event::Apply(newer(object)),
        Event::Delete(object) => Event::Delete(newer(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(newer(object)),
        Event::InitDone => Event::InitDone,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use landfall_crds::gateway_api::TCPRoute;

    use super::*;

    fn refused(code: u16) -> News<TCPRoute> {
        let status = Status {
            code,
            ..Status::default()
        };
        let error = kube::Error::Api(status.into());
        Err(watcher::Error::InitialListFailed(error))
    }

    /// What is said of what two versions say, in short.
    async fn said(own: Vec<News<TCPRoute>>, earlier: Vec<News<TCPRoute>>) -> Vec<&'static str> {
        let all = first_served(stream::iter(own), stream::iter(earlier));
        let short = all.map(|news| match news {
            Ok(Event::Init) => "begun",
            Ok(_) => "listed",
            Err(error) if says(&error, 404) => "absent",
            Err(_) => "refused",
        });
        short.collect().await
    }

    #[tokio::test]
    async fn the_newer_version_is_followed_where_it_is_served() {
        let own = vec![Ok(Event::Init), Ok(Event::InitDone)];
        assert_eq!(said(own, vec![refused(404)]).await, ["begun", "listed"]);
    }

    #[tokio::test]
    async fn where_it_is_not_the_earlier_one_is() {
        let earlier = vec![Ok(Event::Init), Ok(Event::InitDone)];
        assert_eq!(said(vec![refused(404)], earlier).await, ["begun", "listed"]);
    }

    #[tokio::test]
    async fn a_kind_that_is_served_in_neither_is_absent_and_asked_for_again_by_the_newer() {
        let own = vec![refused(404), Ok(Event::Init)];
        assert_eq!(said(own, vec![refused(404)]).await, ["absent", "begun"]);
    }

    #[tokio::test]
    async fn another_refusal_is_no_reason_to_ask_for_another_version() {
        let own = vec![refused(403), Ok(Event::Init)];
        assert_eq!(
            said(own, vec![Ok(Event::InitDone)]).await,
            ["refused", "begun"]
        );
    }
}
