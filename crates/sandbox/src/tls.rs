//! A generated certificate authority, and a certificate for the three host names of the provider.
//! The keys stay in memory.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};

/// The host names of the provider, which the sandbox serves in TLS mode.
pub const HOSTS: [&str; 3] = ["auth.openai.com", "chatgpt.com", "api.openai.com"];

/// The TLS configuration of the sandbox and of its clients.
#[derive(Clone)]
pub struct Tls {
    ca_pem: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// An error of the cryptography library. It does not occur with a working build.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key or a certificate could not be generated.
    #[error("cannot generate the sandbox's certificates")]
    Certificate(#[from] rcgen::Error),
    /// The certificates were rejected.
    #[error("cannot use the sandbox's certificates")]
    Rustls(#[from] tokio_rustls::rustls::Error),
}

impl Tls {
    /// Generates an authority, and a certificate for [`HOSTS`] and `localhost`.
    pub fn generate() -> Result<Self, TlsError> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "authd sandbox authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let names: Vec<String> = HOSTS.iter().chain(&["localhost"]).map(ToString::to_string).collect();
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "authd sandbox");
        leaf.use_authority_key_identifier_extension = true;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_key = KeyPair::generate()?;
        let leaf_certificate = leaf.signed_by(&leaf_key, &issuer)?;

        let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(
            vec![leaf_certificate.der().clone()],
            PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into(),
        )?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem: ca_certificate.pem(),
            server: Arc::new(server),
            client: Arc::new(client_config(ca_certificate.der().clone())?),
        })
    }

    /// The certificate of the authority, for `SSL_CERT_FILE`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.client))
    }
}

fn client_config(ca: CertificateDer<'static>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
