//! The requests about credentials that the user supplies.

use http::Method;

use super::{Client, ClientError};
use crate::{ApiKeyBody, ProfileName, StoredCredential, TokenBody, route};

impl Client {
    /// Creates a profile with the user's own API key, or replaces that key.
    pub async fn put_api_key(
        &self,
        name: &ProfileName,
        body: &ApiKeyBody,
    ) -> Result<StoredCredential, ClientError> {
        self.request(Method::PUT, &route::below_profile(Some(name), "api-key"), Some(body)).await
    }

    /// Creates a profile with a token of the user, or replaces that token.
    pub async fn put_token(
        &self,
        name: &ProfileName,
        body: &TokenBody,
    ) -> Result<StoredCredential, ClientError> {
        self.request(Method::PUT, &route::below_profile(Some(name), "token"), Some(body)).await
    }
}
