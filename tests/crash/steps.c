/*
 * steps.c - prints the steps of runner/base/steps.def, as the crash suite asks for them: "name who" a line.
 *
 * Owns: nothing. Runs in: the crash suite. Privilege: none.
 */
#include <stdio.h>

static const struct {
    const char *name, *who;
} steps[] = {
#define JB_STEP(name, who, meaning) {#name, #who},
#include "base/steps.def"
#undef JB_STEP
};

int main(void)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        (void)printf("%s %s\n", steps[i].name, steps[i].who);
    return 0;
}
