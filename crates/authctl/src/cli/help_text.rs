//! The last part of each `--help`: examples and exit codes.

pub(super) const EXAMPLES: &str = "\
Examples:
  authctl login                       sign in
  authctl login work                  sign in to another account, as profile \"work\"
  authctl status                      all profiles, with account and expiry
  authctl ask \"What is 2+2?\"          4
  curl -H @<(authctl headers) ...     any program, without a sign-in of its own

Exit codes:
  0 success; 1 internal error; 2 bad usage; 3 no such profile or login; 4 sign-in required or denied
  5 provider error; 6 socket of another user; 7 credential store; 8 callback server; 9 no daemon
  130 cancelled";

pub(super) const LOGIN_EXAMPLES: &str = "\
Examples:
  authctl login                       open the browser, wait, and show the account
  authctl login work --mode api-key   as profile \"work\", with an API key
  authctl login --device              without a browser: enter a code on another device
  authctl login --paste               paste the address of the last page in the browser
  authctl login --with-api-key < FILE use an API key of your own
  authctl login --with-token < FILE   use a personal access token of your own, for example in CI
In two steps, with the sign-in on another machine:
  authctl login --no-wait             prints the URL and the login id (device: URL, code, id)
  authctl login --resume lg_4fJ...    waits for it
  authctl login --cancel lg_4fJ...    cancels it; authctl logins lists the pending ones

Over SSH no browser is opened: use the printed ssh -L command, or paste the address.
Ctrl-C cancels the login.";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  authctl status --watch              again after every change
  authctl status --format waybar --watch
                                      for a custom module of Waybar: \"return-type\": \"json\"

The list has every profile. The line \"profile\" names the one that commands use here, unless it is the default
one: that of AUTHCTL_PROFILE, or of the nearest .authd-profile.";

pub(super) const USE_EXAMPLES: &str = "\
Examples:
  authctl use work                    the default profile of the daemon
  authctl use work --here             in this directory and below it

A command uses the profile that it names, else that of AUTHCTL_PROFILE, else that of the nearest .authd-profile
upward, else the default one. AUTHCTL_PROFILE=- is the default one, wherever you are. Directories that contain
your home directory, and files of other users, do not count.";

pub(super) const HEADERS_EXAMPLES: &str = "\
Examples:
  curl -H @<(authctl headers) \"$(authctl url)/models?client_version=0.171.0\"
  authctl headers work --json         {\"base_url\": ..., \"headers\": [[\"Authorization\", ...], ...], ...}";

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  authctl token                       for programs that take a token command
  authctl token work --min-ttl 5m     valid for at least five minutes
  authctl token --timeout 30s         for a caller that waits longer than Codex, which waits 5 s

A refresh that takes longer than the time-out goes on, so that the next call has its token.";

pub(super) const REFRESH_EXAMPLES: &str = "\
Examples:
  authctl refresh work
  authctl refresh tools --missing-scope files:write
                                      the profile needs a sign-in that requests the scope

Exit codes:
  0 done; 2 the last sign-in requested the scopes already, so that another one would not help";

pub(super) const GIT_CREDENTIAL_EXAMPLES: &str = "\
Git asks for a password of a host that a provider has in its git_hosts, and gets the token of the profile: the
one of -p or AUTHCTL_PROFILE, else the one of the nearest .authd-profile if it is of that provider, else the
only one of that provider, else the default one. For any other host nothing is printed, and git asks its next
helper. A token that a server rejects is replaced.

Examples:
  git config --global credential.https://gitlab.com.helper '!authctl git-credential'
  git config credential.helper '!authctl git-credential -p work'      in one repository
  printf 'protocol=https\\nhost=gitlab.com\\n\\n' | authctl git-credential get";

pub(super) const LOGOUT_EXAMPLES: &str = "\
Examples:
  authctl logout                      delete the default profile on this machine
  authctl logout work --revoke        revoke the login at the provider, too
  authctl logout --all                delete all profiles";

pub(super) const ASK_EXAMPLES: &str = "\
Examples:
  authctl ask \"What is 2+2?\"
  authctl ask -p work --model gpt-5.5 \"What is 2+2?\"
  git diff | authctl ask              reads the question from stdin
  authctl ask -v \"What is 2+2?\"       shows request and response, secrets redacted";

pub(super) const IMPORT_EXAMPLES: &str = "\
authd refreshes the login once to test it. Then the file of Codex holds an access token only, and authd keeps
it fresh. Codex continues to work, and cannot use up the refresh token.

Examples:
  authctl import codex                take over the login of the Codex CLI
  authctl export codex                give it back";

pub(super) const CODEX_EXAMPLES: &str = "\
Examples:
  authctl codex install               Codex uses the default profile
  authctl codex install -p work --home ~/.codex-work
  authctl codex uninstall             restores the previous login";

pub(super) const STORE_EXAMPLES: &str = "\
Examples:
  authctl store status
  authctl store migrate --to file     for a machine whose keychain is not always available
  authctl store rekey

The stock age tool opens the files: age -d -i store.key store/profile.default.age";

pub(super) const SERVICE_EXAMPLES: &str = "\
Examples:
  authctl service install             now, and whenever you sign in to this machine
  authctl service install --print     show the units and the commands, change nothing
  authctl service status
  authctl service logs -f

The service uses the default paths. Variables of your shell (AUTHD_CONFIG, HTTPS_PROXY, ...) do not reach it.

Exit codes:
  0 success, or with status: it runs; 9 no service manager, or the service does not run";

pub(super) const QUOTA_EXAMPLES: &str = "\
The first window is the binding one: that of the account with the least left. Windows of single models come
after those of the account. authd takes the figures from responses that pass through it, and asks the provider
only if they are too old. It never refreshes a token for them, and never switches accounts by itself.

Examples:
  authctl quota                       the default profile
  authctl quota --all --watch         every profile, again whenever something changes
  authctl quota -q                    only the percentage that is left of the binding limit
  authctl ask -p \"$(authctl quota --best)\" \"What is 2+2?\"

Exit codes:
  0 shown, even if the figures are old; 2 the profile has no usage limits, or its token has expired;
  5 or 9 they are not known now";

pub(super) const CHECK_EXIT_CODES: &str = "\
Exit codes:
  0 every endpoint answered 2xx; 4 one answered 401 or 403; 5 another error";

pub(super) const EXEC_EXAMPLES: &str = "\
Sets OPENAI_BASE_URL and OPENAI_API_KEY to a loopback share of the profile, as authctl share --loopback does,
and AUTHD_SOCKET. Requests through the share have the headers of the profile, and a fresh token. The command
does not get the token. The share ends with the command, even if authctl is killed.

With --raw it sets OPENAI_API_KEY to the token, OPENAI_BASE_URL, AUTHD_SOCKET, OPENAI_CUSTOM_HEADERS (the other
headers, one a line, which the OpenAI SDKs send) and, if known, CHATGPT_ACCOUNT_ID.

Examples:
  authctl exec -- python app.py
  authctl exec -p work -- sh -c 'curl -H \"Authorization: Bearer $OPENAI_API_KEY\" $OPENAI_BASE_URL/...'
  authctl exec --compat responses -- python app.py
                                      for a program that expects the public API, on a personal plan
  authctl exec --raw -- bash          for a command that cannot connect to 127.0.0.1";

pub(super) const SHARE_EXAMPLES: &str = "\
Without a command it prints what the holder needs, and the share lasts for --ttl. With a command it sets
OPENAI_BASE_URL and OPENAI_API_KEY, or AUTHD_SOCKET, for the command. The share ends with the command, even
if authctl is killed.
docs/shares.md has recipes for podman, Docker, ssh and others.

Examples:
  authctl share --loopback --ttl 30m -- python app.py
  authctl share work --headers        a socket to mount into a container
  authctl share --loopback --compat responses --path responses --rate 60/min
  authctl shares
  authctl unshare q1Zb7RkXw0Tn";

pub(super) const PROVIDERS_EXAMPLES: &str = "\
A provider is defined in authd.toml, in a section [providers.NAME], or added with authctl mcp add;
docs/providers.md says how. A template has all but the client id. To sign in: authctl login --provider NAME.

Examples:
  authctl providers                   the built-in provider, the defined ones and the templates
  authctl providers check google      what it offers, and how to get a client id";

pub(super) const PROVIDERS_CHECK_EXAMPLES: &str = "\
Examples:
  authctl providers check gitlab
  authctl providers check https://mcp.linear.app/mcp
  authctl providers check -v URL      with the requests that discovery sent

Exit codes:
  0 discovery succeeded; 3 no such provider; 5 discovery failed, for the reason that is shown";

pub(super) const MCP_EXAMPLES: &str = "\
authd finds the authorization server of an MCP server, registers a client there, and keeps the sign-in fresh.
Each server is a profile of the same name: authctl headers NAME, authctl token NAME and authctl share NAME.

Examples:
  authctl mcp add linear https://mcp.linear.app/mcp
  authctl mcp list
  authctl mcp remove linear";

pub(super) const MCP_ADD_EXAMPLES: &str = "\
Shows the issuer where you sign in, then opens the browser: the MCP server chooses its issuer. If the sign-in
fails, the server stays in the list, and authctl login --provider NAME tries again.

Examples:
  authctl mcp add linear https://mcp.linear.app/mcp
  authctl mcp add lab https://lab.example/mcp --scope read --scope write
  authctl mcp add lab https://lab.example/mcp --client-id ID --client-secret-file FILE
                                      for a provider that registers no client by itself

Exit codes:
  0 signed in; 2 another server has this name, or a value is not allowed; 4 sign-in denied; 5 provider error";

pub(super) const MCP_REMOVE_EXAMPLES: &str = "\
Lists the profiles that use the server, revokes their sign-ins at the provider, and deletes them. If one
cannot be revoked, it stays, and so does the server: authctl logout PROFILE deletes it on this machine only.

Examples:
  authctl mcp remove linear";

pub(super) const ENV_EXAMPLES: &str = "\
They contain the access token, which is not renewed. A share of a shell would never end, so env makes none:
for one command use authctl exec, and for a share without a command authctl share --loopback.

Examples:
  eval \"$(authctl env)\"               in bash and zsh, and in the .envrc of direnv
  authctl env work | source           in fish";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  authctl completions bash > ~/.local/share/bash-completion/completions/authctl
  authctl completions fish > ~/.config/fish/completions/authctl.fish";

pub(super) const AUDIT_EXAMPLES: &str = "\
The audit log is off until authd.toml has [audit] to = \"file\" or \"journal\". Equal uses within a minute are
one line at the first of them, and one more with the number of the others.

Examples:
  authctl audit --since 1h            the last hour
  authctl audit -f -p work            one profile, and new entries as they arrive
  authctl audit --json | jq -c 'select(.action == \"headers\") | [.process.executable, .profile]'

Exit codes:
  0 shown; 2 the audit log is off";
