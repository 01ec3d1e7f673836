//! The TLS policy of every connection. It is reqwest's own (the platform's verifier, TLS 1.2 and
//! 1.3, no client certificate), repeated here because reqwest does not export it.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ALL_VERSIONS, ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier as PlatformVerifier;

/// Reads the certificates of a CA file (PEM). The error says why it cannot be used.
pub(super) fn extra_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let roots = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|_| "invalid certificate encoding".to_owned())?;
    if roots.is_empty() { Err("it contains no certificate".to_owned()) } else { Ok(roots) }
}

/// The TLS configuration, with the system's certificates loaded now.
pub(super) fn config(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = if extra_roots.is_empty() {
        PlatformVerifier::new(provider.clone())?
    } else {
        PlatformVerifier::new_with_extra_roots(extra_roots.iter().cloned(), provider.clone())?
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
