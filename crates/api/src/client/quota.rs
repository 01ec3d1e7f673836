//! The request about the usage limits of an account.

use http::Method;

use super::{Client, ClientError, NO_BODY};
use crate::{ProfileName, Quota, route};

impl Client {
    /// Gets how much of the usage limits of a profile's account is used. The daemon asks the
    /// provider if it knows nothing that is at most `max_age` seconds old (300 when `None`).
    pub async fn quota(
        &self,
        name: Option<&ProfileName>,
        max_age: Option<u64>,
    ) -> Result<Quota, ClientError> {
        let query = max_age.map(|seconds| format!("?max_age={seconds}")).unwrap_or_default();
        let path = format!("{}{query}", route::below_profile(name, "quota"));
        self.request(Method::GET, &path, NO_BODY).await
    }
}
