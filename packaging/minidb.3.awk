# Makes the manual page minidb(3) of the header: awk -v version=V -f minidb.3.awk minidb.h
#
# Its head is the description; each comment that begins with two stars is that of the
# declaration which it precedes.

function text(line) {
    sub(/^ \* ?/, "", line)
    gsub(/\\/, "\\e", line)
    gsub(/-/, "\\-", line)
    sub(/^[.']/, "\\\\\\&&", line)
    return line
}

BEGIN {
    print ".TH MINIDB 3 \"\" \"minidb " version "\""
    print ".SH NAME\nminidb \\- an embeddable ordered key\\-value store"
    print ".SH SYNOPSIS\n.nf\n.B #include <minidb.h>\n"
    print "cc app.c \\-o app $(pkg\\-config \\-\\-cflags \\-\\-libs minidb)\n.fi\n.SH DESCRIPTION"
}

/^\/\*$/ && !has_head { in_head = has_head = 1; next }
in_head && /^ \*\/$/ { in_head = 0; print ".SH DECLARATIONS"; next }
in_head { line = text($0); print line == "" ? ".PP" : line; next }

/^\/\*\*$/ { in_comment = 1; comment = ""; next }
in_comment && /^ \*\/$/ { in_comment = 0; in_declaration = 1; print ".PP\n.nf"; next }
in_comment { line = text($0); comment = comment (line == "" ? ".PP" : line) "\n"; next }

in_declaration && /^$/ { in_declaration = 0; printf ".fi\n.RS 4\n%s.RE\n", comment; next }
in_declaration { sub(/^MINIDB_API /, ""); gsub(/-/, "\\-"); print; next }

END { print ".SH SEE ALSO\n.BR minidb (1)" }
