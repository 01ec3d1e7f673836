//! Whom to believe: one policy for every connection, whoever makes it. It is reqwest's own (the platform's
//! verifier, TLS 1.2 and 1.3, no certificate of ours), written out because reqwest does not give it away.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ALL_VERSIONS, ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use super::NetworkError;

/// The certificates of a CA file (PEM), which are to be trusted besides the system's.
pub(super) fn extra_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetworkError> {
    let unusable = |detail: String| NetworkError::CaFile { path: path.to_path_buf(), detail };
    let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| unusable("invalid certificate encoding".to_owned()))?;
    if found.is_empty() { Err(unusable("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// What is spoken and who is believed, with the system's certificates read now.
pub(super) fn policy(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = if extra_roots.is_empty() {
        Verifier::new(provider.clone())?
    } else {
        Verifier::new_with_extra_roots(extra_roots.iter().cloned(), provider.clone())?
    };
    let mut policy = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    policy.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(policy)
}
