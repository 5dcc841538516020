/* As much of NVML as the sampler calls. What it answers stands in the text file that FAKE_NVML names, read anew at
 * each call, so that a test can kill and revive the driver under a running process:
 *   one line "init CODE"                        what nvmlInit answers (0 = success)
 *   per GPU "CODE NAME UUID TOTAL USED PERCENT" CODE is what every call for it answers; PERCENT -1 = not supported;
 *                                               it is warmer by a degree and draws 4.5 W more per percent */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, MAX_GPUS = 8 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { int code; char name[64]; char uuid[64]; unsigned long long total, used; int percent; } Gpu;
typedef struct { int init; int count; Gpu gpus[MAX_GPUS]; } Driver;

static int users = 0;
static long handles[MAX_GPUS] = {0, 1, 2, 3, 4, 5, 6, 7};

static Driver driver(void) {
    Driver now = {.init = 9 /* driver not loaded */, .count = 0};
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return now;
    if (fscanf(file, "init %d", &now.init) != 1) now.init = 999;
    while (now.count < MAX_GPUS) {
        Gpu *gpu = &now.gpus[now.count];
        if (fscanf(file, "%d %63s %63s %llu %llu %d", &gpu->code, gpu->name, gpu->uuid, &gpu->total, &gpu->used,
                   &gpu->percent) != 6) break;
        now.count++;
    }
    fclose(file);
    return now;
}

static int find(void *handle, Gpu *out) {
    long number = *(long *)handle;
    Driver now = driver();
    if (!users) return UNINITIALIZED;
    if (now.init) return now.init;
    if (number >= now.count) return INVALID_ARGUMENT;
    *out = now.gpus[number];
    return out->code;
}

int nvmlInitWithFlags(unsigned int flags) {
    int code = driver().init;
    (void)flags;
    if (code == SUCCESS) users++;
    return code;
}

int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    Driver now = driver();
    if (!users) return UNINITIALIZED;
    *count = now.count;
    return now.init;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int number, void **handle) {
    if (!users) return UNINITIALIZED;
    if ((int)number >= driver().count) return INVALID_ARGUMENT;
    *handle = &handles[number];
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *name, unsigned int length) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(name, length, "%s", gpu.name);
    return code;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned int length) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(uuid, length, "%s", gpu.uuid);
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) *memory = (Memory){.total = gpu.total, .free = gpu.total - gpu.used, .used = gpu.used};
    return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, Utilization *utilization) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *utilization = (Utilization){.gpu = gpu.percent, .memory = 0};
    return code;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *celsius) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (sensor != 0) return INVALID_ARGUMENT;
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *celsius = 30 + gpu.percent;
    return code;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *milliwatts = 4500 * gpu.percent;
    return code;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}
