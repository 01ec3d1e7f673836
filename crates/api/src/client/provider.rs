//! The requests about providers.

use http::Method;

use super::{Client, ClientError, NO_BODY};
use crate::{Provider, ProviderBody, ProviderCheck, ProviderCheckBody, Providers, route};

impl Client {
    /// Lists the providers that the daemon knows.
    pub async fn providers(&self) -> Result<Providers, ClientError> {
        self.request(Method::GET, route::PROVIDERS, NO_BODY).await
    }

    /// Adds the definition of a provider. Succeeds without a change if it exists with the same
    /// content.
    pub async fn put_provider(&self, name: &str, body: &ProviderBody) -> Result<Provider, ClientError> {
        self.request(Method::PUT, &route::provider(name), Some(body)).await
    }

    /// Removes a definition that was added.
    pub async fn delete_provider(&self, name: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &route::provider(name), NO_BODY).await.map(drop)
    }

    /// Reads the metadata of a provider, and says what it offers.
    pub async fn check_provider(&self, body: &ProviderCheckBody) -> Result<ProviderCheck, ClientError> {
        self.request(Method::POST, route::PROVIDERS_CHECK, Some(body)).await
    }
}
