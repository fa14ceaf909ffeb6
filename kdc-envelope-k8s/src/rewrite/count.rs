//! How many objects a pass would look at, for dry runs.

use kube::Client;

use super::error::{RewriteError, Verb};
use super::find;
use super::options::RewriteOptions;
use super::report::{Count, ResourceCount};
use super::resolve::ServedResource;
use super::response::{Failure, Listed, judge_list};
use super::retry_budget::{OF_A_QUESTION, RetryBudget};
use super::transport::Transport;
use crate::encryption_config::GroupResource;

/// Counts the objects of these resources without reading them: one request for each, where the server tells how many come
/// after the first page.
///
/// # Errors
/// As [`rewrite`](super::rewrite).
pub async fn count(client: &Client, resources: &[GroupResource]) -> Result<Count, RewriteError> {
    let options = RewriteOptions::default();
    let transport = Transport::new(client, options.request_timeout);
    let mut retries = RetryBudget::new(OF_A_QUESTION, &|_| ());
    let counted = count_all(&transport, &mut retries, resources, &options).await;
    counted.map_err(|error| error.at(&transport.server()))
}

async fn count_all(
    transport: &Transport,
    retries: &mut RetryBudget<'_>,
    resources: &[GroupResource],
    options: &RewriteOptions,
) -> Result<Count, RewriteError> {
    let resolution = find(transport, retries, resources).await?;
    let mut count = Count {
        skipped: resolution.skipped,
        ..Count::default()
    };
    for resource in &resolution.resources {
        let page_size = options.page_size.get();
        let objects = count_one(transport, retries, resource, page_size).await?;
        count.resources.push(ResourceCount {
            resource: resource.resource.clone(),
            objects,
        });
    }
    Ok(count)
}

async fn count_one(
    transport: &Transport,
    retries: &mut RetryBudget<'_>,
    resource: &ServedResource,
    page_size: u32,
) -> Result<u64, RewriteError> {
    let name = resource.resource.to_string();
    let (mut objects, mut limit, mut token) = (0_u64, 1, None);
    loop {
        let response = transport.list(resource, limit, token.as_deref()).await;
        let listed = match response {
            Ok(response) => judge_list(&resource.resource, &response)?,
            Err(failure) => Listed::Failed(failure),
        };
        let failure = match listed {
            Listed::Page(page) => {
                retries.succeeded();
                let listed = u64::try_from(page.objects.len()).unwrap_or(u64::MAX);
                objects = objects.saturating_add(listed);
                match (page.token, page.remaining) {
                    (None, _) => return Ok(objects),
                    (Some(_), Some(remaining)) => return Ok(objects.saturating_add(remaining)),
                    (next, None) => token = next,
                }
                limit = page_size;
                continue;
            }
            Listed::Expired(next) => {
                if next.is_none() {
                    objects = 0;
                }
                token = next;
                Failure::server("the continue token expired")
            }
            Listed::Failed(failure) => failure,
            Listed::Unreadable(why) => {
                return Err(RewriteError::Unreadable {
                    server: transport.server(),
                    resource: resource.resource.clone(),
                    why,
                });
            }
        };
        retries.failed(Verb::List, &name, &failure)?;
        tokio::time::sleep(retries.pause(&failure)).await;
    }
}
