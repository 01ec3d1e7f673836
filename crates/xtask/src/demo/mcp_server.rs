//! An MCP server with its authorization server, small enough for the demonstration: it registers
//! every client and grants every request. One request a connection.

use std::{collections::HashMap, io, net::SocketAddr};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The server, which runs until the end of the program.
pub(crate) struct McpServer {
    pub(crate) url: String,
}

impl McpServer {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, address));
            }
        });
        Ok(Self { url: format!("http://{address}/mcp") })
    }
}

async fn serve(stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let target = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers: HashMap<String, &str> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let response = respond(&target, headers.contains_key("authorization"), &format!("http://{address}"));
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(target: &str, is_authorized: bool, url: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/mcp" if is_authorized => {
            let result = json!({"tools": [{"name": "add", "description": "Adds two numbers"}]});
            success(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
        }
        "/mcp" => response("401 Unauthorized", "WWW-Authenticate: Bearer scope=\"tools\"", ""),
        "/.well-known/oauth-protected-resource/mcp" => {
            success(&json!({"resource": format!("{url}/mcp"), "authorization_servers": [url]}))
        }
        "/.well-known/oauth-authorization-server" => success(&json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "registration_endpoint": format!("{url}/register"),
            "code_challenge_methods_supported": ["S256"],
        })),
        "/register" => success(&json!({"client_id": "authd-demo"})),
        "/authorize" => {
            let value =
                |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default();
            let redirect_uri = value("redirect_uri=").replace("%3A", ":").replace("%2F", "/");
            let location = format!("Location: {redirect_uri}?code=demo&state={}", value("state="));
            response("302 Found", &location, "")
        }
        "/token" => success(&json!({"access_token": "a-token-for-the-tools-of-this-demonstration",
            "refresh_token": "demo", "token_type": "Bearer", "expires_in": 3600})),
        _ => response("404 Not Found", "X-Demo: yes", ""),
    }
}

fn success(body: &Value) -> String {
    response("200 OK", "Content-Type: application/json", &body.to_string())
}

fn response(status: &str, header: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends `GET` with a bearer token, as curl does, and returns the body of the response.
pub(crate) async fn get(url: &str, token: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").context("a loopback URL")?;
    let (host, path) = rest.split_once('/').context("a URL with a path")?;
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (_, body) = response.split_once("\r\n\r\n").context("a response with a body")?;
    Ok(body.to_owned())
}
