//! What `--help` says at its end: examples and exit codes.

pub(super) const EXAMPLES: &str = "\
Examples:
  authctl login                       sign in
  authctl login work                  sign in somebody else, under the name \"work\"
  authctl status                      who is signed in, until when
  authctl ask \"What is 2+2?\"          4
  curl -H @<(authctl headers) …       any program, no sign-in of its own

Exit codes:
  0 done · 1 internal error · 2 bad usage · 3 no such profile or login · 4 a person has to sign in
  5 the provider · 6 not your socket · 7 the credential store · 8 the callback server · 9 no daemon
  130 called off";

pub(super) const LOGIN_EXAMPLES: &str = "\
Examples:
  authctl login                       open the browser, wait, say who is signed in
  authctl login work --mode api-key   under the name \"work\", with an API key
  authctl login --device              no browser on this machine: type a code on another
  authctl login --paste               paste the address that the browser ended on
Start now, authorize elsewhere, confirm later:
  authctl login --no-wait             prints the URL and the login's id (device: URL, code, id)
  authctl login --resume lg_4fJ…      waits for it

Over SSH no browser is opened: follow the printed ssh -L line, or paste the address.
Ctrl-C calls the login off.";

pub(super) const HEADERS_EXAMPLES: &str = "\
Examples:
  curl -H @<(authctl headers) \"$(authctl url)/models?client_version=0.34.0\"
  authctl headers work --json         {\"base_url\": …, \"headers\": [[\"Authorization\", …], …], …}";

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  authctl token                       for programs that take a token command
  authctl token work --min-ttl 300    good for five minutes at least";

pub(super) const LOGOUT_EXAMPLES: &str = "\
Examples:
  authctl logout                      forget the default profile on this machine
  authctl logout work --revoke        tell the provider, too
  authctl logout --all                forget everybody";

pub(super) const ASK_EXAMPLES: &str = "\
Examples:
  authctl ask \"What is 2+2?\"
  authctl ask -p work --model gpt-5.5 \"What is 2+2?\"
  git diff | authctl ask              the question from stdin
  authctl ask -v \"What is 2+2?\"       shows request and response, secrets redacted";

pub(super) const IMPORT_EXAMPLES: &str = "\
The login is tried by one refresh first. Then Codex's file holds an access token alone, which authd keeps
fresh: Codex goes on working, and cannot spend the refresh token.

Examples:
  authctl import codex                take over the login of the Codex CLI
  authctl export codex                give it back";

pub(super) const CODEX_EXAMPLES: &str = "\
Examples:
  authctl codex install               Codex uses the default profile
  authctl codex install -p work --home ~/.codex-work
  authctl codex uninstall             as it was before";

pub(super) const STORE_EXAMPLES: &str = "\
Examples:
  authctl store status
  authctl store migrate --to file     for a machine whose keychain is not always there
  authctl store rekey

The files open with the stock age tool: age -d -i store.key store/profile.default.age";

pub(super) const SERVICE_EXAMPLES: &str = "\
Examples:
  authctl service install             now, and whenever you sign in to this machine
  authctl service install --print     show the units and the commands, change nothing
  authctl service status
  authctl service logs -f

The service knows the usual places only: what a shell says (AUTHD_CONFIG, HTTPS_PROXY, …) does not reach it.

Exit codes:
  0 done, with status: it runs · 9 no service manager, or the service does not run";

pub(super) const CHECK_EXITS: &str = "\
Exit codes:
  0 every endpoint answered 2xx · 4 one answered 401 or 403 · 5 one failed otherwise";

pub(super) const EXEC_EXAMPLES: &str = "\
The command sees OPENAI_API_KEY, OPENAI_BASE_URL, AUTHD_SOCKET and, if known, CHATGPT_ACCOUNT_ID.
The token is as it was at the start: a command that outlives it should ask authd again.

Examples:
  authctl exec -- python app.py
  authctl exec -p work -- sh -c 'curl -H \"Authorization: Bearer $OPENAI_API_KEY\" …'";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  authctl completions bash > ~/.local/share/bash-completion/completions/authctl
  authctl completions fish > ~/.config/fish/completions/authctl.fish";
