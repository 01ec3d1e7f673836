//! `authctl store`.

use authd_api::{ErrorCode, Problem, StoreKind, StoreState};
use serde_json::json;

use crate::context::{Context, with_timeout};
use crate::{
    cli::{StoreArg, StoreCommand},
    error::{CliError, CliResult},
    render,
};

pub(super) async fn store(ctx: &Context, command: StoreCommand) -> CliResult {
    match command {
        StoreCommand::Status => {
            let status = with_timeout(ctx.client.status()).await?;
            ctx.out.result(&json!({"store": status.store, "profiles": status.profiles}), || {
                render::store_in_full(&status.store, ctx.out.stdout_style)
            })?;
            if status.store.state != StoreState::Ready && !ctx.out.json {
                ctx.out.info("authd serves cached credentials and retries the store by itself");
            }
            Ok(())
        }
        StoreCommand::Migrate { to, take_all } => migrate(ctx, to, take_all).await,
        StoreCommand::Rekey => {
            let store = with_timeout(ctx.client.rekey_store()).await?;
            ctx.out.done("all credentials are encrypted with a new key", &store)
        }
    }
}

async fn migrate(ctx: &Context, to: StoreArg, take_all: bool) -> CliResult {
    let is_fleet = to == StoreArg::Postgres;
    if is_fleet && take_all {
        return Err(CliError::new(ErrorCode::BadRequest, "--take-all has no meaning with --to postgres"));
    }
    let status = with_timeout(ctx.client.status()).await?;
    let was_fleet = status.store.kind == Some(StoreKind::Postgres);
    // Until the daemon has read the names, it does not say that they are in the fleet.
    let may_be_fleet = was_fleet || status.profiles.is_none() && status.store.fleet.is_some();
    if may_be_fleet && !is_fleet && !take_all {
        let detail = "this moves all logins of the fleet to this machine: the other nodes lose them";
        let hint = "to do that, add --take-all; to take this machine out of the fleet, see docs/fleet.md";
        return Err(Problem::new(ErrorCode::BadRequest, detail).hint(hint).into());
    }
    let report = with_timeout(ctx.client.migrate_store(to.into())).await?;
    if ctx.out.json {
        return ctx.out.print_json(&report);
    }
    let store = render::store(&report.store, ctx.out.stderr_style);
    match report.left_behind {
        Some(reason) if was_fleet || is_fleet => {
            ctx.out.always(&format!("the move has begun, and authd finishes it by itself: {reason}"));
            return Ok(());
        }
        Some(reason) => {
            ctx.out.info(&format!("moved {} records: {store}", report.records));
            ctx.out.always(&format!("the old store keeps its copies until authd restarts: {reason}"));
        }
        None => ctx.out.info(&format!("moved {} records: {store}", report.records)),
    }
    if was_fleet && !is_fleet {
        ctx.out.always("this machine has all logins of the fleet now; the other nodes have lost them");
    }
    Ok(())
}
