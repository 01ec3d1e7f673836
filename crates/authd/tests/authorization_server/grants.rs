//! The clients and logins of the server. Each refresh token works once; its second use ends the
//! login (RFC 9700, section 4.14.2).

use authd_sandbox::TokenInfo;

/// The number of the first login. The sandbox numbers its logins from zero.
const FIRST_LOGIN: usize = 1_000;

/// What every refresh token begins with.
const REFRESH_TOKEN: &str = "rt-";

/// What the id of every registered client begins with.
const CLIENT: &str = "client-";

/// The clients, logins and tokens at one moment.
#[derive(Clone, Default)]
pub(crate) struct Grants {
    clients: usize,
    logins: Vec<Login>,
    /// The login of each refresh token. Their numbers begin with 1.
    tokens: Vec<usize>,
    rotations: usize,
}

#[derive(Clone)]
struct Login {
    /// The number of its newest refresh token.
    newest: usize,
    /// Whether an old refresh token was used.
    ended: bool,
}

impl Grants {
    /// Registers a client, and returns its id.
    pub(super) fn register(&mut self) -> String {
        self.clients += 1;
        format!("{CLIENT}{}", self.clients)
    }

    /// How many clients are registered.
    pub(super) fn registrations(&self) -> usize {
        self.clients
    }

    /// How many refresh tokens were rotated.
    pub(super) fn rotations(&self) -> usize {
        self.rotations
    }

    /// Whether a client with this id may exist. An id that the server does not assign is one that a
    /// user has registered.
    pub(super) fn knows_client(&self, id: &str) -> bool {
        number(id, CLIENT).is_none_or(|number| number <= self.clients)
    }

    /// Starts a login, and returns the number of its tokens.
    pub(super) fn sign_in(&mut self) -> usize {
        self.tokens.push(self.logins.len());
        self.logins.push(Login { newest: self.tokens.len(), ended: false });
        self.tokens.len()
    }

    /// Rotates a refresh token, and returns the number of the new tokens. `None` if the token is
    /// spent. A token that the server did not issue starts a login.
    pub(super) fn refresh(&mut self, token: &str) -> Option<usize> {
        let Some((number, login)) = self.find(token) else { return Some(self.sign_in()) };
        let Login { newest, ended } = &mut self.logins[login];
        *ended |= number != *newest;
        if *ended {
            return None;
        }
        self.tokens.push(login);
        *newest = self.tokens.len();
        self.rotations += 1;
        Some(*newest)
    }

    /// The origin and state of a refresh token; `None` if the server did not issue it.
    pub(super) fn token_info(&self, token: &str) -> Option<TokenInfo> {
        let (number, login) = self.find(token)?;
        let Login { newest, ended } = self.logins[login];
        Some(TokenInfo {
            family: FIRST_LOGIN + login,
            account: String::new(),
            newest: number == newest,
            valid: number == newest && !ended,
            ended,
        })
    }

    /// The number of a refresh token, and its login.
    fn find(&self, token: &str) -> Option<(usize, usize)> {
        let number = number(token, REFRESH_TOKEN)?;
        let login = self.tokens.get(number.checked_sub(1)?)?;
        Some((number, *login))
    }
}

/// Whether a text is a refresh token of this server.
pub(crate) fn is_refresh_token(text: &str) -> bool {
    number(text, REFRESH_TOKEN).is_some()
}

fn number(text: &str, prefix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.parse().ok()
}
