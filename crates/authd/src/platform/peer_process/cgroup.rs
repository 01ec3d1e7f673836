//! Parses `/proc/PID/cgroup` (cgroups(7)): the systemd unit and the container of a process.
//!
//! The paths are read from the outside in, as systemd does: what is below a unit or a container is
//! its own, and a process in it may choose those names.

/// Most characters of the name of a unit, as in systemd.
const MAX_UNIT: usize = 255;

/// Characters of the id of a container.
const ID_LENGTH: usize = 64;

/// Where a process belongs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// The unit of the user's service manager, else of the system's.
    pub(super) unit: Option<String>,
    /// The id of the outermost container.
    pub(super) container: Option<String>,
}

/// The unit and the container that the paths name.
pub(super) fn parse(cgroup: &[u8]) -> Groups {
    let text = String::from_utf8_lossy(cgroup);
    let mut lines: Vec<(u8, &str)> = text.lines().filter_map(line).collect();
    // The order is stable: the controllers of cgroup v1 keep theirs.
    lines.sort_by_key(|(rank, _)| *rank);
    Groups {
        // systemd keeps its units in its own hierarchy.
        unit: lines.iter().filter(|(rank, _)| *rank < CONTROLLER).find_map(|(_, path)| unit(path)),
        container: lines.iter().find_map(|(_, path)| container(path)),
    }
}

/// The rank of a controller's hierarchy of cgroup v1.
const CONTROLLER: u8 = 2;

/// The path of a line, and its rank: the hierarchy of cgroup v2 is before systemd's of v1.
fn line(line: &str) -> Option<(u8, &str)> {
    let (hierarchy, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let rank = match (hierarchy, controllers) {
        ("0", "") => 0,
        (_, "name=systemd") => 1,
        _ => CONTROLLER,
    };
    Some((rank, path))
}

/// The names in a path. In a cgroup namespace, `..` leads to the paths outside of it.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !matches!(*name, "" | ".."))
}

/// The unit, as `cg_path_get_user_unit` and `cg_path_get_unit` of systemd find it.
fn unit(path: &str) -> Option<String> {
    let mut names = names(path).skip_while(|name| is_slice(name));
    let unit = names.next().filter(|name| is_unit(name))?;
    let user_unit = is_user_manager(unit)
        .then(|| names.find(|name| !is_slice(name)))
        .flatten()
        .filter(|name| is_unit(name));
    let name = user_unit.unwrap_or(unit);
    // systemd escapes names that the kernel reserves.
    Some(name.strip_prefix('_').unwrap_or(name).to_owned())
}

/// Whether this is a unit that contains other units.
fn is_slice(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "slice")))
}

/// Whether this is the service that runs the units of one user.
fn is_user_manager(unit: &str) -> bool {
    let uid = unit.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
    uid.is_some_and(|uid| !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether this is the name of a unit that contains processes (systemd.unit(5)).
fn is_unit(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let Some((prefix, kind)) = name.rsplit_once('.') else { return false };
    name.len() <= MAX_UNIT
        && matches!(kind, "service" | "scope" | "socket" | "mount" | "swap")
        && !prefix.is_empty()
        && name.bytes().all(is_allowed)
}

/// The id of the outermost container: with systemd `libpod-ID.scope`, `docker-ID.scope` or
/// `cri-containerd-ID.scope`, else the id alone.
fn container(path: &str) -> Option<String> {
    names(path).find_map(container_id).map(str::to_owned)
}

fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (runtime, id) = name.split_at_checked(name.len().checked_sub(ID_LENGTH)?)?;
    let is_id = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // podman's monitor of a container is outside of it.
    let is_inside = runtime.is_empty() || runtime.ends_with('-') && !runtime.ends_with("-conmon-");
    (is_id && is_inside).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3ab1f0a0f6f54c76d9be3b9ff1f9c8d3b1b7e76b5a0c4d1f8c5f1a2e9d7c6b54";
    const INNER: &str = "77d1f0a0f6f54c76d9be3b9ff1f9c8d3b1b7e76b5a0c4d1f8c5f1a2e9d7c6b99";

    /// Paths of cgroup v2, as systemd and the container runtimes make them. `ID` is an id.
    const PATHS: &[(&str, Option<&str>, bool)] = &[
        // systemd: the system's services, sessions, and the units of a user.
        ("/", None, false),
        ("/init.scope", Some("init.scope"), false),
        ("/system.slice/cron.service", Some("cron.service"), false),
        ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service"), false),
        ("/system.slice/systemd-udevd.service/udev", Some("systemd-udevd.service"), false),
        ("/system.slice/docker.socket", Some("docker.socket"), false),
        ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope"), false),
        ("/user.slice/user-1000.slice/user@1000.service", Some("user@1000.service"), false),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", Some("init.scope"), false),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r5e2.service",
            Some("run-r5e2.service"),
            false,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/run-p815-i816.scope",
            Some("run-p815-i816.scope"),
            false,
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome\x2dterminal.slice/vte-spawn-8f.scope",
            Some("vte-spawn-8f.scope"),
            false,
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Ptyxis\x2d42.scope",
            Some(r"app-org.gnome.Ptyxis\x2d42.scope"),
            false,
        ),
        // Names below a unit are the unit's own.
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/build.service/sshd.service",
            Some("build.service"),
            false,
        ),
        ("/system.slice/_cgroup.service", Some("cgroup.service"), false),
        // podman: rootless, under a unit of its own, without systemd, and rootful.
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            Some("libpod-ID.scope"),
            true,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-ID",
            Some("web.service"),
            true,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-ID.scope",
            Some("libpod-conmon-ID.scope"),
            false,
        ),
        ("/libpod_parent/libpod-ID", None, true),
        ("/machine.slice/libpod-ID.scope/container", Some("libpod-ID.scope"), true),
        ("/machine.slice/libpod-ID.scope/init.scope", Some("libpod-ID.scope"), true),
        // docker: with systemd, without, rootless, and with a kubelet inside (kind).
        ("/system.slice/docker-ID.scope", Some("docker-ID.scope"), true),
        ("/docker/ID", None, true),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            Some("docker-ID.scope"),
            true,
        ),
        (
            "/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/cri-containerd-INNER.scope",
            Some("docker-ID.scope"),
            true,
        ),
        // containerd, CRI-O and Kubernetes.
        ("/default/ID", None, true),
        ("/system.slice/nerdctl-ID.scope", Some("nerdctl-ID.scope"), true),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1c9d.slice/cri-containerd-ID.scope",
            Some("cri-containerd-ID.scope"),
            true,
        ),
        ("/kubepods/besteffort/pod1c9d6f4e-6a5b-4a44-9d0e-2f0a8e6f1a11/ID", None, true),
        ("/kubepods.slice/kubepods-pod1c9d.slice/crio-ID.scope/container", Some("crio-ID.scope"), true),
        // systemd-nspawn and LXC have names instead of ids.
        (
            r"/machine.slice/machine-debian.scope/payload/system.slice/cron.service",
            Some("machine-debian.scope"),
            false,
        ),
        ("/lxc.payload.web/system.slice/cron.service", None, false),
        // Seen from a cgroup namespace.
        ("/../run-r5e2.service", Some("run-r5e2.service"), false),
        ("/../../../session-3.scope", Some("session-3.scope"), false),
    ];

    fn expand(text: &str) -> String {
        text.replace("INNER", INNER).replace("ID", ID)
    }

    #[test]
    fn paths_of_version_2() {
        for (path, unit, is_contained) in PATHS {
            let groups = parse(expand(&format!("0::{path}\n")).as_bytes());
            let container = is_contained.then(|| ID.to_owned());
            assert_eq!(groups, Groups { unit: unit.map(expand), container }, "{path}");
        }
    }

    #[test]
    fn version_1_has_systemd_in_its_own_hierarchy() {
        let lines = "12:pids:/user.slice/user-1000.slice/session-9.scope\n\
            11:cpu,cpuacct:/system.slice/other.service\n\
            1:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n\
            0::/\n";
        assert_eq!(parse(lines.as_bytes()), Groups { unit: Some("web.service".into()), container: None });

        let docker = expand("12:pids:/docker/ID\n11:devices:/docker/ID\n1:name=systemd:/docker/ID\n");
        assert_eq!(parse(docker.as_bytes()), Groups { unit: None, container: Some(ID.into()) });

        let without_systemd = expand("3:cpuset:/\n2:memory:/kubepods/burstable/pod1/ID\n");
        assert_eq!(parse(without_systemd.as_bytes()), Groups { unit: None, container: Some(ID.into()) });
    }

    #[test]
    fn what_is_no_unit_or_container_is_nothing() {
        let id = ID.to_uppercase();
        let paths = [
            "/a.slice".to_owned(),
            "/.service".to_owned(),
            "/system.slice/bad name.service".to_owned(),
            "/system.slice/evil\u{1b}[2J.service".to_owned(),
            format!("/system.slice/{}.service", "a".repeat(MAX_UNIT)),
            format!("/docker/{id}"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/x{ID}"),
            format!("/docker/ä{}", &ID[1..]),
        ];
        for path in paths {
            assert_eq!(parse(format!("0::{path}\n").as_bytes()), Groups::default(), "{path}");
        }
        assert_eq!(parse(b"no colon\n0:\n\n::\n"), Groups::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_short_and_printable(cgroup: Vec<u8>) {
            is_short_and_printable(parse(&cgroup))?;
        }

        #[test]
        fn any_path_is_short_and_printable(path in "(/(user@1\\.service|.{0,300}|\\PC{0,70})(\\.service|\\.scope|\\.slice)?){0,5}") {
            is_short_and_printable(parse(format!("0::{path}\n").as_bytes()))?;
        }
    }

    fn is_short_and_printable(groups: Groups) -> Result<(), TestCaseError> {
        for name in [groups.unit, groups.container].into_iter().flatten() {
            prop_assert!(name.len() <= MAX_UNIT);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        Ok(())
    }
}
