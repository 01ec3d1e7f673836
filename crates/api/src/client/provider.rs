//! The requests about providers.

use http::Method;

use super::{Client, ClientError, NO_BODY};
use crate::{ProviderCheck, ProviderCheckBody, Providers, route};

impl Client {
    /// Lists the providers that the daemon knows.
    pub async fn providers(&self) -> Result<Providers, ClientError> {
        self.request(Method::GET, route::PROVIDERS, NO_BODY).await
    }

    /// Reads the metadata of a provider, and says what it offers.
    pub async fn check_provider(&self, body: &ProviderCheckBody) -> Result<ProviderCheck, ClientError> {
        self.request(Method::POST, route::PROVIDERS_CHECK, Some(body)).await
    }
}
