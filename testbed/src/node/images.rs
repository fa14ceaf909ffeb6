//! Images for the node, which pulls none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Node, output_of};
use crate::Error;
use crate::oci::Image;

/// What a name without a host stands for, such as that of an image in a manifest.
const DEFAULT_REGISTRY: &str = "docker.io/library";
/// Names a folder of archives to use in place of programs that are built for tests, as `cargo xtask images` makes them.
const IMAGES: &str = "KDC_TESTBED_IMAGES";
const BUSYBOX: &str = "/bin/busybox";

/// What every node has: the image that holds a pod's namespaces, and busybox.
pub(super) fn write_basic(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let pause = busybox(Image::new("localhost/pause:1"))?.entrypoint(&[BUSYBOX, "sleep", "inf"]);
    pause.write(&folder.join("pause.tar"))?;
    let busybox = busybox(Image::new(full_name("busybox:1.37")))?;
    busybox.write(&folder.join("busybox.tar"))?;
    Ok(())
}

/// Debian's package `busybox`, which may be there in place of `busybox-static`, needs libraries.
fn busybox(image: Image) -> Result<Image, Error> {
    let image = with_libraries(image, Path::new(BUSYBOX))?;
    let names = [
        "cat", "env", "id", "ls", "mkdir", "sh", "sleep", "stat", "true", "wget",
    ];
    Ok(names
        .iter()
        .fold(image.program(BUSYBOX, BUSYBOX), |image, name| {
            image.link("busybox", &format!("/bin/{name}"))
        }))
}

impl Node {
    /// Gives the node an image of one of our programs under the name that our manifests have, such as `kms-plugin:0.1.0`: that of the
    /// folder `$KDC_TESTBED_IMAGES`, if that is set, else of `program` with the libraries that it needs.
    ///
    /// # Errors
    /// When the image cannot be made or imported.
    pub fn image(&self, name: &str, program: &Path) -> Result<(), Error> {
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        if let Some(folder) = std::env::var_os(IMAGES) {
            let archive = PathBuf::from(folder).join(format!("{file}.tar"));
            let imported = self.import_archive(&archive)?;
            let full = full_name(name);
            if imported != full {
                self.run(&[
                    "ctr", "-n", "k8s.io", "image", "tag", "--force", &imported, &full,
                ])?;
            }
            return Ok(());
        }
        let stripped = self
            .folder()
            .join("images")
            .join(format!("{file}.stripped"));
        let mut strip = Command::new("strip");
        // Line numbers of a debug build would fill the node's memory.
        strip
            .args(["--strip-debug", "-o"])
            .arg(&stripped)
            .arg(program);
        output_of(&mut strip)?;
        let at = format!("/{file}");
        let image = Image::new(full_name(name))
            .user("65532:65532")
            .entrypoint(&[&at]);
        self.import(&with_libraries(image, program)?.program(stripped, &at))
    }

    /// Gives the node the image of the kube-apiserver that it runs itself, as `kube-apiserver:v1.36.3`.
    ///
    /// # Errors
    /// When the image cannot be made or imported.
    pub async fn image_of_kube_apiserver(&self, name: &str) -> Result<(), Error> {
        let server = crate::Server::KubeApiserver(crate::KubeMinor::DEFAULT);
        let program = crate::servers::prepare_in_background(server).await?;
        self.import(&Image::new(full_name(name)).program(program, "/usr/local/bin/kube-apiserver"))
    }

    /// Gives the node an image under its full name.
    ///
    /// # Errors
    /// When the archive cannot be written or imported.
    pub fn import(&self, image: &Image) -> Result<(), Error> {
        let archive = self.folder().join("images/import.tar");
        image.write(&archive)?;
        self.import_archive(&archive).map(|_| ())
    }

    /// Gives the name that the archive says.
    fn import_archive(&self, archive: &Path) -> Result<String, Error> {
        let mut ctr = self.command("ctr");
        ctr.args(["--namespace", "k8s.io", "image", "import"])
            .arg(archive);
        let said = output_of(&mut ctr)?;
        let name = said.split_whitespace().nth(1).unwrap_or_default();
        Ok(name.to_owned())
    }
}

fn full_name(name: &str) -> String {
    format!("{DEFAULT_REGISTRY}/{name}")
}

/// Adds the shared libraries of a program, by the paths under which its loader looks.
fn with_libraries(image: Image, program: &Path) -> Result<Image, Error> {
    let listed = output_of(Command::new("ldd").arg(program)).unwrap_or_default();
    let libraries = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with('/'))
    });
    Ok(libraries.fold(image, |image, library| image.program(library, library)))
}
