/*
 * wordcount: counts the words of a text in a store.
 *
 *     wordcount [FILE|- [PREFIX]]
 *
 * Prints the ten most frequent words of FILE (or of the standard input), all
 * words that begin with PREFIX, and how many words there are; the rate goes to
 * the standard error.
 *
 * A word is made of letters, and of apostrophes between letters. Capitals are
 * made small. A byte over 127 is taken for a letter, which keeps UTF-8 words
 * whole. A word is cut after WORD_MAX bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <minidb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORD_MAX 255
#define TOP 10

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "wordcount: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

/* Passes an answer on, be it "no"; ends the program after a failure. */
static int check(int code)
{
    if (code < 0)
        fail("minidb", minidb_strerror(code));
    return code;
}

static int is_letter(int c)
{
    return c > 127 || isalpha(c);
}

/* Reads the next word; returns its length, 0 at the end of the text. */
static size_t next_word(FILE *in, char word[WORD_MAX])
{
    size_t len = 0;
    int c = getc(in);

    while (c != EOF && !is_letter(c))
        c = getc(in);
    while (is_letter(c)) {
        if (len < WORD_MAX)
            word[len++] = (char)tolower(c);
        c = getc(in);
        if (c == '\'') {
            c = getc(in);
            if (is_letter(c) && len < WORD_MAX)
                word[len++] = '\'';
        }
    }
    return len;
}

/* Counts the words of `in` under their names; returns how many there are. */
static uint64_t count_words(minidb_t *db, FILE *in)
{
    char word[WORD_MAX];
    uint64_t total = 0;
    size_t len;

    for (; (len = next_word(in, word)) > 0; total++) {
        uint64_t count;

        if (check(minidb_get_into(db, word, len, &count, sizeof count, NULL))
            == MINIDB_NOTFOUND)
            count = 0;
        count++;
        check(minidb_put(db, word, len, &count, sizeof count, NULL, NULL));
    }
    return total;
}

/* The count at a cursor; its bytes need not be aligned as a number's are. */
static uint64_t count_at(const minidb_cursor_t *cursor)
{
    uint64_t count;

    memcpy(&count, minidb_cursor_value(cursor, NULL), sizeof count);
    return count;
}

/*
 * Sorts by writing to a second store, whose keys are in the order wanted: the
 * count, most significant byte first and inverted, so that the highest comes
 * first, and then the word.
 */
static void rank(const minidb_t *db, minidb_t *ranks)
{
    minidb_cursor_t *cursor;

    check(minidb_scan(db, NULL, 0, NULL, 0, &cursor));
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK) {
        unsigned char key[sizeof(uint64_t) + WORD_MAX];
        uint64_t count = count_at(cursor);
        size_t i, len;
        const char *word = minidb_cursor_key(cursor, &len);

        for (i = 0; i < sizeof count; i++)
            key[i] = (unsigned char)~(count >> (56 - 8 * i));
        memcpy(key + i, word, len);
        check(minidb_put(ranks, key, i + len, &count, sizeof count, NULL, NULL));
    }
    minidb_cursor_close(cursor);
}

static void print_top(const minidb_t *db)
{
    minidb_t *ranks;
    minidb_cursor_t *cursor;
    int i;

    check(minidb_open(NULL, 0, &ranks));
    rank(db, ranks);
    puts("The most frequent words:");
    check(minidb_scan(ranks, NULL, 0, NULL, 0, &cursor));
    for (i = 0; i < TOP && check(minidb_cursor_next(cursor)) == MINIDB_OK; i++)
        printf("%8" PRIu64 " %s\n", count_at(cursor),
               minidb_cursor_key(cursor, NULL) + sizeof(uint64_t));
    minidb_cursor_close(cursor);
    minidb_close(ranks);
}

static void print_prefix(const minidb_t *db, const char *prefix)
{
    minidb_cursor_t *cursor;

    printf("The words that begin with \"%s\":\n", prefix);
    check(minidb_scan_prefix(db, prefix, MINIDB_STR, &cursor));
    while (check(minidb_cursor_next(cursor)) == MINIDB_OK)
        printf("%8" PRIu64 " %s\n", count_at(cursor),
               minidb_cursor_key(cursor, NULL));
    minidb_cursor_close(cursor);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "-";
    FILE *in = stdin;
    minidb_t *db;
    uint64_t total, distinct;
    clock_t start, ticks;

    if (argc > 3) {
        fprintf(stderr, "usage: %s [FILE|- [PREFIX]]\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (strcmp(name, "-") != 0 && (in = fopen(name, "rb")) == NULL)
        fail(name, strerror(errno));
    check(minidb_open(NULL, 0, &db));

    start = clock();
    total = count_words(db, in);
    ticks = clock() - start + 1; /* never 0: it divides */
    if (ferror(in) || fclose(in) != 0)
        fail(name, strerror(errno));

    print_top(db);
    if (argc > 2)
        print_prefix(db, argv[2]);
    check(minidb_stat(db, MINIDB_STAT_COUNT, &distinct));
    printf("%" PRIu64 " words, %" PRIu64 " distinct\n", total, distinct);
    fprintf(stderr, "%.0f words per second\n",
            (double)total * CLOCKS_PER_SEC / (double)ticks);
    minidb_close(db);
    if (ferror(stdout) || fclose(stdout) != 0)
        fail("stdout", strerror(errno));
    return EXIT_SUCCESS;
}
