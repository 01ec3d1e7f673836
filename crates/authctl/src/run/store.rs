//! `authctl store`: where the credentials are, and their move to another place.

use authd_api::StoreState;
use serde_json::json;

use super::{Ctl, within};
use crate::{cli::StoreDeed, failure::Failure, show};

/// Does what is asked of the store.
pub(super) async fn store(ctl: &Ctl, deed: StoreDeed) -> Result<(), Failure> {
    match deed {
        StoreDeed::Status => {
            let status = within(ctl.client.status()).await?;
            if ctl.out.wants_json() {
                return ctl.out.json(&json!({"store": status.store, "profiles": status.profiles}));
            }
            let line = show::store(&status.store, ctl.out.paint());
            ctl.out.answer(&format!("{line}\n"))?;
            if status.store.state != StoreState::Ready {
                ctl.out
                    .say("Cached credentials are served meanwhile; authd tries the store again by itself.");
            }
            Ok(())
        }
        StoreDeed::Migrate { to } => {
            let moved = within(ctl.client.migrate_store(to.into())).await?;
            if ctl.out.wants_json() {
                return ctl.out.json(&moved);
            }
            ctl.out.say(&format!(
                "{} records moved: {}",
                moved.records,
                show::store(&moved.store, ctl.out.words())
            ));
            if let Some(left) = moved.left_behind {
                ctl.out.insist(&format!(
                    "The old store still holds its copies, until authd starts anew: {left}"
                ));
            }
            Ok(())
        }
        StoreDeed::Rekey => {
            let store = within(ctl.client.rekey_store()).await?;
            ctl.out.say("everything is sealed with a new key");
            if ctl.out.wants_json() { ctl.out.json(&store) } else { Ok(()) }
        }
    }
}
