//! `authctl store`.

use authd_api::StoreState;
use serde_json::json;

use crate::context::{Context, with_timeout};
use crate::{cli::StoreCommand, error::CliResult, render};

pub(super) async fn store(ctx: &Context, command: StoreCommand) -> CliResult {
    match command {
        StoreCommand::Status => {
            let status = with_timeout(ctx.client.status()).await?;
            ctx.out.result(&json!({"store": status.store, "profiles": status.profiles}), || {
                render::store(&status.store, ctx.out.stdout_style) + "\n"
            })?;
            if status.store.state != StoreState::Ready && !ctx.out.json {
                ctx.out.info("authd serves cached credentials and retries the store by itself");
            }
            Ok(())
        }
        StoreCommand::Migrate { to } => {
            let report = with_timeout(ctx.client.migrate_store(to.into())).await?;
            if ctx.out.json {
                return ctx.out.print_json(&report);
            }
            let store = render::store(&report.store, ctx.out.stderr_style);
            ctx.out.info(&format!("moved {} records: {store}", report.records));
            if let Some(reason) = report.left_behind {
                ctx.out.always(&format!("the old store keeps its copies until authd restarts: {reason}"));
            }
            Ok(())
        }
        StoreCommand::Rekey => {
            let store = with_timeout(ctx.client.rekey_store()).await?;
            ctx.out.done("all credentials are encrypted with a new key", &store)
        }
    }
}
