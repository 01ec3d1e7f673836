//! A simulated browser. It opens a page and follows redirects to loopback and to the sandbox. It
//! runs no scripts, stores no cookies, and fetches no resources of a page.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::{Host, Url};

use crate::HOSTS;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Largest page, in bytes.
const MAX_PAGE: usize = 1024 * 1024;
/// Longest time for one page. It only stops a hanging test.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The browser. In TLS mode it connects the real host names of the provider to the sandbox.
#[derive(Clone)]
pub struct Browser {
    sandbox: Option<(SocketAddr, TlsConnector)>,
}

/// The last page of a navigation.
#[derive(Clone, Debug)]
pub struct FinalPage {
    /// The HTTP status.
    pub status: u16,
    /// The address.
    pub url: String,
    /// The body.
    pub html: String,
}

impl Browser {
    pub(crate) fn new(sandbox: Option<(SocketAddr, TlsConnector)>) -> Self {
        Self { sandbox }
    }

    /// Opens an authorize URL, selects this account, and follows the redirects.
    pub async fn sign_in(&self, authorize_url: &str, account: &str) -> io::Result<FinalPage> {
        self.open(&with(authorize_url, "account", account)?).await
    }

    /// Opens an authorize URL and denies the request. `decision` is `deny` or `no_entitlement`.
    pub async fn refuse(&self, authorize_url: &str, decision: &str) -> io::Result<FinalPage> {
        self.open(&with(authorize_url, "decision", decision)?).await
    }

    /// Signs in, and returns the address of the provider's redirect without following it.
    pub async fn redirect(&self, authorize_url: &str, account: &str) -> io::Result<String> {
        let (_, location, page) = self.fetch(&parse(&with(authorize_url, "account", account)?)?).await?;
        location.map(String::from).ok_or_else(|| invalid(&format!("no redirect, but a page: {page}")))
    }

    /// Opens a page, and follows the redirects.
    pub async fn open(&self, url: &str) -> io::Result<FinalPage> {
        let mut url = parse(url)?;
        for _ in 0..MAX_REDIRECTS {
            let (status, location, html) = self.fetch(&url).await?;
            match location {
                Some(next) => url = next,
                None => return Ok(FinalPage { status: status.as_u16(), url: url.into(), html }),
            }
        }
        Err(invalid("too many redirects"))
    }

    /// Fetches one page: its status, where it redirects to, its text.
    async fn fetch(&self, url: &Url) -> io::Result<(StatusCode, Option<Url>, String)> {
        let fetched = match url.scheme() {
            "http" => get(connect(url).await?, url),
            "https" => return self.fetch_securely(url).await,
            other => return Err(invalid(&format!("no browser opens {other}: addresses"))),
        };
        tokio::time::timeout(PAGE_TIMEOUT, fetched).await?
    }

    async fn fetch_securely(&self, url: &Url) -> io::Result<(StatusCode, Option<Url>, String)> {
        let name = url.host_str().unwrap_or_default();
        let Some((address, connector)) = self.sandbox.as_ref().filter(|_| HOSTS.contains(&name)) else {
            return Err(invalid(&format!("{name} is not in the sandbox")));
        };
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = connector.connect(server, TcpStream::connect(address).await?).await?;
        tokio::time::timeout(PAGE_TIMEOUT, get(stream, url)).await?
    }
}

/// Connects to a loopback address, and to nothing else.
async fn connect(url: &Url) -> io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    let both = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    match url.host() {
        Some(Host::Domain("localhost")) => TcpStream::connect(&both[..]).await,
        Some(Host::Ipv4(ip)) if ip.is_loopback() => TcpStream::connect((ip, port)).await,
        Some(Host::Ipv6(ip)) if ip.is_loopback() => TcpStream::connect((ip, port)).await,
        _ => Err(invalid(&format!("not on loopback: {url}"))),
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
) -> io::Result<(StatusCode, Option<Url>, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The request reports the errors of the connection.
    let connection = tokio::spawn(connection);
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(header::HOST, host)
        .header(header::USER_AGENT, "Mozilla/5.0 (sandbox)")
        .header(header::ACCEPT, "text/html")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.filter(|_| status.is_redirection()).map(|to| url.join(to)).transpose();
    let location = location.map_err(|_| invalid("the redirect leads nowhere"))?;
    let page = Limited::new(response.into_body(), MAX_PAGE).collect().await.map_err(io::Error::other)?;
    connection.abort();
    Ok((status, location, String::from_utf8_lossy(&page.to_bytes()).into_owned()))
}

fn with(url: &str, name: &str, value: &str) -> io::Result<String> {
    let mut url = parse(url)?;
    url.query_pairs_mut().append_pair(name, value);
    Ok(url.into())
}

fn parse(url: &str) -> io::Result<Url> {
    Url::parse(url).map_err(|_| invalid("not a URL"))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
