/* Loads a plugin, uses it and unloads it, 1,000 times: host PLUGIN FILE. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TIMES = 1000, WARM = 200, MAX_GROWTH = 256 /* KiB; 13 were lost each time once */ };

static long resident(void)
{
    long total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%ld %ld", &total, &pages) != 2)
        return -1;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
    int (*use)(const char *path);
    long before = 0, after;
    int i;

    if (argc != 3)
        return 2;
    for (i = 0; i < TIMES; i++) {
        void *plugin = dlopen(argv[1], RTLD_NOW), *symbol;

        if (plugin == NULL || (symbol = dlsym(plugin, "plugin_use")) == NULL)
            return fprintf(stderr, "%s\n", dlerror()), 1;
        memcpy(&use, &symbol, sizeof use);
        if (!use(argv[2]))
            return fprintf(stderr, "the plugin fails the time %d\n", i), 1;
        if (dlclose(plugin) != 0 || dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) != NULL)
            return fprintf(stderr, "the plugin stays loaded\n"), 1;
        if (i == WARM)
            before = resident();
    }
    after = resident();
    if (before < 0 || after > before + MAX_GROWTH)
        return fprintf(stderr, "%ld KiB became %ld\n", before, after), 1;
    printf("loaded %d times\n", TIMES);
    return 0;
}
