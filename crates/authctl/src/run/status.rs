//! `authctl status`: how the daemon and its profiles are, once or for as long as somebody watches.

use std::{io::IsTerminal, time::Duration};

use authd_api::{ProfileName, Profiles, Status, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::json;

use super::{Ctl, unknown_profile, within};
use crate::{cli::StatusArgs, failure::Failure, show, time};

/// Changes that follow each other this closely are shown together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often a watched status is shown although nothing changed: its relative times go stale.
const STALE: Duration = Duration::from_secs(30);

/// The pause before a daemon that went away is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows it.
pub(super) async fn status(ctl: &Ctl, args: StatusArgs) -> Result<(), Failure> {
    let name = ctl.named(args.one);
    show(ctl, name.as_ref(), None).await?;
    if args.watch { watch(ctl, name.as_ref()).await } else { Ok(()) }
}

/// Shows it once; the second time and later on a screen, or below an empty line.
async fn show(ctl: &Ctl, name: Option<&ProfileName>, screen: Option<bool>) -> Result<(), Failure> {
    let daemon: Status = within(ctl.client.status()).await?;
    let mut profiles: Profiles = within(ctl.client.profiles()).await?;
    if let Some(name) = name {
        profiles.profiles.retain(|profile| profile.name == *name);
        if profiles.profiles.is_empty() {
            return Err(unknown_profile(name).into());
        }
    }
    if ctl.out.wants_json() {
        return ctl.out.json(&json!({"daemon": daemon, "profiles": profiles}));
    }
    let text = show::status(&daemon, &profiles.profiles, time::now(), ctl.out.paint());
    if let Some(screen) = screen {
        ctl.out.clear(screen)?;
    }
    ctl.out.answer(&text)
}

/// The event stream says when to look again; what is shown is always asked for anew.
async fn watch(ctl: &Ctl, name: Option<&ProfileName>) -> Result<(), Failure> {
    let screen = std::io::stdout().is_terminal();
    loop {
        let headers = HeaderMap::new();
        let stream = ctl.client.stream(Method::GET, route::EVENTS, &headers, Bytes::new());
        if let Ok(mut stream) = within(stream).await {
            // The first events tell what is shown already.
            let mut news = tokio::time::timeout(PAUSE, stream.chunk()).await.is_ok();
            while news {
                match tokio::time::timeout(STALE, stream.chunk()).await {
                    Ok(Ok(Some(_))) => {
                        while let Ok(Ok(Some(_))) = tokio::time::timeout(TOGETHER, stream.chunk()).await {}
                        show(ctl, name, Some(screen)).await?;
                    }
                    Ok(_) => news = false,
                    Err(_) if screen => show(ctl, name, Some(screen)).await?,
                    Err(_) => {}
                }
            }
        }
        ctl.out.say("authd went away; waiting for it to come back");
        while within(ctl.client.status()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        show(ctl, name, Some(screen)).await?;
    }
}
