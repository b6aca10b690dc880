//! The completions and the manual page, made of the definition of the command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::aot::{Bash, Fish, Zsh, generate};
use clap_mangen::Man;

use crate::cli::{Cli, CompletionsFor};

/// Writes the completions for a shell.
pub fn completions(shell: CompletionsFor, to: &mut dyn Write) -> io::Result<()> {
    let (mut command, mut text) = (Cli::command(), Vec::new());
    match shell {
        CompletionsFor::Bash => generate(Bash, &mut command, "minidb", &mut text),
        CompletionsFor::Zsh => generate(Zsh, &mut command, "minidb", &mut text),
        CompletionsFor::Fish => generate(Fish, &mut command, "minidb", &mut text),
    }
    to.write_all(&text)
}

/// Writes minidb(1): the page of the whole, in which each command has a section.
pub fn man(to: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let version = command.get_version().unwrap_or_default();
    let page = Man::new(command.clone())
        .title("MINIDB")
        .source(format!("minidb {version}"))
        .manual("minidb");
    page.render_title(to)?;
    page.render_name_section(to)?;
    page.render_synopsis_section(to)?;
    page.render_description_section(to)?;
    page.render_options_section(to)?;
    writeln!(to, ".SH COMMANDS")?;
    for command in command.get_subcommands().cloned() {
        writeln!(to, ".SS {}", command.get_name())?;
        // What every command has stands at the top.
        let shared = |arg: &clap::Arg| {
            matches!(arg.get_id().as_str(), "wait" | "quiet" | "progress" | "help")
        };
        let command = command.mut_args(|arg| if shared(&arg) { arg.hide(true) } else { arg });
        let page = Man::new(command.version(None::<&str>));
        let mut text = Vec::new();
        page.render_description_section(&mut text)?;
        writeln!(text, ".PP")?;
        page.render_synopsis_section(&mut text)?;
        page.render_options_section(&mut text)?;
        writeln!(text, ".PP")?;
        page.render_extra_section(&mut text)?;
        without_headings(&text, to)?;
    }
    writeln!(to, ".SH NOTES")?;
    let mut notes = Vec::new();
    page.render_extra_section(&mut notes)?;
    without_headings(&notes, to)?;
    writeln!(to, ".SH \"SEE ALSO\"\n\\fBminidb\\fR(3)")
}

/// Copies a part of a page without the headings of its sections.
fn without_headings(text: &[u8], to: &mut dyn Write) -> io::Result<()> {
    for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b".SH"))
    {
        to.write_all(line)?;
    }
    Ok(())
}
